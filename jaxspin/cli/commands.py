"""The command line: `jaxspin scan`, `jaxspin bands`, `jaxspin check`, `jaxspin info`."""

import contextlib
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import typer
from matplotlib import pyplot
from matplotlib.axes import Axes
from PIL import Image
from rich.console import Console
from rich.table import Table

from jaxspin import plot
from jaxspin.cli import input_files
from jaxspin.engine import files
from jaxspin.engine.terminal import printable
from jaxspin.interop import wannier90, wannierberri
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.meshes.mesh import Grid
from jaxspin.meshes.path import Path as KPath
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.responses import at_k
from jaxspin.responses.response import Response, write
from jaxspin.symmetry.crystals import of_lattice
from jaxspin.symmetry.detect import find

app = typer.Typer(
    help="Spin and charge transport of electrons in crystals, from a Hamiltonian H(k).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_DPI = 300

File = Annotated[Path | None, typer.Argument(help="Input file, TOML.", show_default=False)]
Example = Annotated[
    str | None,
    typer.Option(help=f"A built-in input instead of a file: {', '.join(input_files.EXAMPLES)}."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where results go: a folder, or a path without ending."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite results of other inputs.")]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="A file for the sums so far; after an interruption the same command goes on from it.",
    ),
]
Show = Annotated[bool, typer.Option("--show", help="Print the input and stop.")]


@app.command()
def scan(
    file: File = None,
    example: Example = None,
    output: Output = None,
    *,
    force: Force = False,
    checkpoint: Kept = None,
    show: Show = False,
) -> None:
    """Compute a response against Fermi energy and temperature; write it and a figure of it.

    Results carry the input that made them. An existing file is overwritten only if it carries the
    same input, or with --force.
    """
    with _report_problems():
        source = _select_source(file, example)
        if show:
            typer.echo(printable(source.text), nl=False)
            return
        job = input_files.prepare_scan(source)
        stem = _result_stem(job.stem, output)
        targets = [_result_files(f"{stem}{ending}") for ending in job.runs]
        _refuse_overwrite([path for pair in targets for path in pair], job.record, force)
        for (ending, keywords), (numbers, picture) in zip(job.runs.items(), targets, strict=True):
            start = time.perf_counter()
            with _name_checkpoint(checkpoint, ending) as file:
                response = job.function(
                    job.model, job.mesh, job.levels, checkpoint=file, **keywords
                )
            response = response.to(job.units)
            response.value.block_until_ready()
            seconds = time.perf_counter() - start
            _save_response(response, numbers, job.record)
            axes = plot.scan(response, components=job.components)
            _save_figure(axes, picture, job.record)
            points = int(response.info.get("points", job.points))
            _print_summary(response, points, seconds, (numbers, picture))


@app.command()
def bands(
    file: File = None,
    example: Example = None,
    output: Output = None,
    force: Force = False,
    show: Show = False,
) -> None:
    """Draw the band structure along the path of the input file."""
    with _report_problems():
        source = _select_source(file, example)
        if show:
            typer.echo(printable(source.text), nl=False)
            return
        model, path, number, stem, record = input_files.prepare_bands(source)
        picture = Path(f"{_result_stem(stem, output)}_bands.png")
        _refuse_overwrite([picture], record, force)
        axes = plot.bands(model, path, number=number)
        _save_figure(axes, picture, record)
        _print_text(f"wrote {picture}")


@app.command()
def check(
    seedname: Annotated[str, typer.Argument(help="Path and name of the files, without endings.")],
    spin_order: Annotated[
        str | None,
        typer.Option(help="interlaced, block or unknown, where the files do not say it."),
    ] = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Read Wannier90 files, report their contents and quality, and draw the bands.

    The bands are compared with those of Wannier90 (_band.dat), and the Berry curvatures with those
    of WannierBerri, where these are there. A table says by how much the model breaks the symmetries
    of its crystal.
    """
    with _report_problems():
        model, report = wannier90.examine(seedname, spin_order=cast(Any, spin_order))
        _print_text(str(report))
        record = f"jaxspin check {seedname}"
        picture = Path(f"{_result_stem(Path(seedname).name, output)}_bands.png")
        _refuse_overwrite([picture], record, force)
        axes = _draw_bands(model, report)
        if axes is not None:
            _save_figure(axes, picture, record)
            _print_text(f"wrote {picture}")
        _print_broken_symmetries(model, report)
        _compare_with_wannierberri(model)


@app.command()
def info() -> None:
    """Print versions, devices and precision, for bug reports."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("python", platform.python_version())
    for package in ("jaxspin", "jax", "jaxlib", "numpy", "equinox"):
        table.add_row(package, metadata.version(package))
    for device in jax.devices():
        table.add_row("device", f"{device.platform}: {device.device_kind}")
    table.add_row("precision", "double" if jnp.zeros(()).dtype == "float64" else "single")
    _make_console().print(table, highlight=False)


# --- input ----------------------------------------------------------------------------------------


def _select_source(file: Path | None, example: str | None) -> input_files.Source:
    if file is not None and example is None:
        return input_files.read_input(file)
    if example is not None and file is None:
        return input_files.load_example(example)
    raise ValueError(
        "Give either an input file or --example NAME. "
        "`jaxspin scan --example bi2se3 --show` prints an input to start from."
    )


@contextlib.contextmanager
def _report_problems() -> Iterator[None]:
    """Report errors of the input in one line, with exit code 2, and all warnings at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        except (ValueError, OSError) as error:
            _print_problem(f"error: {error}")
            raise typer.Exit(2) from error
        finally:
            ours = [w for w in caught if not issubclass(w.category, DeprecationWarning)]
            for message in dict.fromkeys(str(w.message) for w in ours):
                _print_problem(f"warning: {message}")


@contextlib.contextmanager
def _name_checkpoint(checkpoint: Path | None, ending: str) -> Iterator[Path | None]:
    """Name the checkpoint of one of the results; after Ctrl-C, say how to go on."""
    if checkpoint is None:
        yield None
        return
    file = checkpoint.with_name(f"{checkpoint.stem}{ending}{checkpoint.suffix}")
    try:
        yield file
    except KeyboardInterrupt:
        advice = f"interrupted. The sums so far are in {file}; the same command goes on from there."
        _print_problem(advice)
        raise


# --- check ----------------------------------------------------------------------------------------


def _draw_bands(model: HoppingModel, report: wannier90.Report) -> Axes | None:
    """Draw the bands along the path of the files, and print their difference from Wannier90's."""
    legs = report.path or ()
    corners = {point.label: point.k for leg in legs for point in leg}
    if report.bands is not None:
        k, energies = report.bands
        own = at_k.bands(model, jnp.asarray(k @ np.asarray(reciprocal_vectors(model.lattice))))
        difference = np.max(np.abs(np.asarray(own.energies) - energies))
        _print_text(f"bands: largest difference from _band.dat {difference:.1e} eV")
        return plot.bands_against(model, k, energies, corners=corners)
    if not legs:
        _print_text("bands: not drawn, for neither .win has a kpoint_path nor is there a _band.dat")
        return None
    points = [legs[0][0]]
    for start, end in legs:
        points += [start, end] if start != points[-1] else [end]
    path = KPath([point.k for point in points], [point.label for point in points])
    return plot.bands(model, path)


def _print_broken_symmetries(model: HoppingModel, report: wannier90.Report) -> None:
    """Print by how much the model breaks the group of its crystal, or of its lattice."""
    try:
        group = wannier90.crystal_group(report)
    except ImportError:  # spglib
        group = None
    of_crystal = group is not None
    group = group if of_crystal else of_lattice(model.lattice)
    grid = None if report.mesh is None else Grid(report.mesh)
    if grid is not None and len(group.subgroup_of(grid, model.lattice)) < len(group):
        grid = None
    found = find(model, candidates=group, mesh=grid)
    origin = "crystal without magnetic moments" if of_crystal else "lattice"
    _print_text(f"symmetries of the {origin} that the model has: {found}")


def _compare_with_wannierberri(model: HoppingModel) -> None:
    """Print the difference of both codes at three k, or that WannierBerri is not installed."""
    k = np.random.default_rng(1).uniform(size=(3, 3))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the other package
            differences = wannierberri.compare(model, k)
    except ImportError:
        _print_text("WannierBerri: not compared, for it is not installed")
        return
    for difference in differences:
        _print_text(f"WannierBerri, 3 k-points: {difference}")


# --- output ---------------------------------------------------------------------------------------


def _result_stem(stem: str, output: Path | None) -> Path:
    """Path of the results without their ending."""
    if output is None:
        path = Path(stem)
    elif output.is_dir():
        path = output / Path(stem).name
    else:
        path = output
    if not path.parent.is_dir():
        raise ValueError(f"The results go into a folder that is not there: {path.parent}.")
    return path.with_suffix("") if path.suffix in (".nc", ".png") else path


def _result_files(stem: str) -> tuple[Path, Path]:
    return Path(f"{stem}.nc"), Path(f"{stem}.png")


def _refuse_overwrite(paths: list[Path], record: str, force: bool) -> None:
    """Refuse to overwrite the result of another input."""
    for path in paths:
        if path.exists() and not force and _read_record(path) != record:
            raise ValueError(
                f"{path} exists and comes from another input. "
                "Use --output to write elsewhere, or --force to overwrite it."
            )


def _read_record(path: Path) -> str | None:
    """Read the input that a result carries; None if it carries none."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                return image.info.get("Comment")
    except (OSError, ValueError):
        return None
    return files.read_text(path, "input")


def _save_response(response: Response, path: Path, record: str) -> None:
    notes = {"input": record, "jaxspin_version": metadata.version("jaxspin")}
    write(response, path, overwrite=True, notes=notes)  # `_refuse_overwrite` has looked at it


def _save_figure(axes: Axes, path: Path, record: str) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None  # for the type checker: axes we made have one
    software = f"jaxspin {metadata.version('jaxspin')}"
    figure.savefig(path, dpi=_DPI, metadata={"Software": software, "Comment": record})
    pyplot.close(figure)


def _print_summary(
    response: Response, points: int, seconds: float, files: tuple[Path, ...]
) -> None:
    lines = [
        repr(response),
        f"  mesh     {points:,} k-points in {seconds:.1f} s, compilation included",
        f"wrote {' and '.join(map(str, files))}",
    ]
    _print_text("\n".join(lines))


def _print_text(text: str) -> None:
    _make_console().print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _print_problem(text: str) -> None:
    text = printable(text, sys.stderr)
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _make_console() -> Console:
    return Console()


# --- start ----------------------------------------------------------------------------------------


@app.callback()
def _prepare_process() -> None:
    matplotlib.use("agg")  # figures go to files; no window system is needed
    _keep_what_is_compiled()


def _keep_what_is_compiled() -> None:
    """Let JAX keep compiled programs on disk, so that the next run does not compile them again.

    Where JAX_COMPILATION_CACHE_DIR, or the user's own setting of JAX, names a folder, it is that
    one. A folder that cannot be made is no reason to stop.
    """
    # JAX makes the attributes of its configuration at run time.
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        folder = _cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # The smallest pieces are compiled about as fast as they are read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _cache_folder() -> Path:
    """Folder of jaxspin for data that can be made again.

    It is in LOCALAPPDATA on Windows, and in XDG_CACHE_HOME or its default elsewhere.
    """
    named = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "jaxspin"


if __name__ == "__main__":
    app()
