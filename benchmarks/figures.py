"""The figures and the table of goals of docs/performance.md, from the tables in results/.

python benchmarks/figures.py
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from record import RESULTS, read

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
FOLDER = PAGE.with_suffix("")
BEGIN, END = "<!-- goals: written by benchmarks/figures.py -->\n", "<!-- end of the goals -->\n"
STYLE = {
    "figure.figsize": (5.2, 3.5),
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.marker": "o",
    "lines.markersize": 4,
    "legend.frameon": False,
}


def columns(rows: list[dict], *names: str) -> list[list[float]]:
    return [[float(row[name]) for row in rows] for name in names]


def chosen(name: str, **where: object) -> list[dict]:
    rows = read(name)
    return [row for row in rows if all(row[k].startswith(str(v)) for k, v in where.items())]


def throughput(axes: Axes) -> None:
    """k-points a second against the number of bands."""
    for code, label in (
        ("jaxspin", "jaxspin"),
        ("NumPy", "vectorised NumPy"),
        ("WannierBerri", "WannierBerri"),
        ("PythTB", "PythTB, eigensystems alone"),
    ):
        rows = [row for row in chosen("anomalous_hall", code=code) if "16³" not in row["code"]]
        bands, rate = columns(rows, "bands", "thousand k per cpu second")
        (line,) = axes.loglog(bands, [1e3 * r for r in rate])
        axes.annotate(
            label,
            (bands[0], 1e3 * rate[0]),
            (6, 9),
            textcoords="offset points",
            color=line.get_color(),
        )
    ticks = [2, 4, 8, 18]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_ylim(top=10 * axes.get_ylim()[1])
    axes.set(xlabel="bands", ylabel="k-points per second of one core")
    axes.set_title("Anomalous Hall conductivity, 101 levels, 81 cells", fontsize=9)


def levels(axes: Axes) -> None:
    """Cost against the number of levels."""
    for kelvin in ("0.0", "300.0"):
        rows = [row for row in read("levels") if row["temperature K"] == kelvin]
        number, cost = columns(rows, "levels", "cost of one level")
        axes.semilogx(number, cost, label=f"T = {float(kelvin):g} K")
    axes.axhline(1.5, color="0.4", linestyle="--", linewidth=1, marker="", label="goal")
    axes.set_ylim(0, None)
    axes.set(xlabel="Fermi energies in one scan", ylabel="processor time / that of one")
    axes.set_title("Spin Hall conductivity of Bi2Se3, 27 components", fontsize=9)
    axes.legend(loc="lower right")


def convergence(axes: Axes) -> None:
    """Error against the number of k-points."""
    colors = {"0.1": "C0", "0.01": "C1", "0.001": "C2"}
    for gap, color in colors.items():
        for mesh, line in (("Grid", "-"), ("Adaptive", "--")):
            rows = [row for row in chosen("convergence", mesh=mesh) if row["gap"] == gap]
            if not rows:
                continue
            points, error = columns(rows, "evaluations", "error")
            error = [max(e, 1e-13) for e in error]  # where rounding is all that is left
            label = f"{mesh}, gap {gap} t"
            axes.loglog(points, error, linestyle=line, color=color, label=label)
    axes.axhline(1e-6, color="0.4", linestyle=":", linewidth=1, marker="")
    axes.set(xlabel="k-points", ylabel="error, e²/h")
    axes.set_title("Hall conductivity of Haldane's model, filled band", fontsize=9)
    axes.legend(fontsize=7, ncols=1)


def cores(axes: Axes) -> None:
    """Speed against cores and devices."""
    rows = read("cores")
    largest = max(int(row["number"]) for row in rows)
    axes.plot([1, largest], [1, largest], "--", color="0.4", linewidth=1, marker="", label="ideal")
    one = rows[0]
    for kind in ("threads", "devices"):
        shown = [one, *(row for row in rows[1:] if row["lanes"] == kind)]
        number, speed = columns(shown, "number", "faster than one")
        axes.plot(number, speed, label=kind)
    axes.set_xticks([int(row["number"]) for row in rows])
    axes.set_ylim(0, None)
    axes.set(xlabel="cores", ylabel="times as fast as one (wall time)")
    axes.legend(loc="upper left")


def memory(axes: Axes) -> None:
    """Memory against the mesh."""
    points, peak = columns(read("memory"), "k-points", "peak memory MiB")
    axes.semilogx(points, peak)
    axes.set_ylim(0, 1.25 * max(peak))
    axes.set(xlabel="k-points", ylabel="peak memory of the process, MiB")
    axes.set_title("Proper spin Hall conductivity of Bi2Se3", fontsize=9)


FIGURES: dict[str, Callable[[Axes], None]] = {
    "anomalous_hall": throughput,
    "levels": levels,
    "convergence": convergence,
    "cores": cores,
    "memory": memory,
}


def goals() -> None:
    """The table of goals, put into the page."""
    machine = (RESULTS / "goals.csv").read_text().splitlines()[0].lstrip("# ")
    lines = ["| what | goal | measured | met |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row.values()) + " |" for row in read("goals")]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join([*lines, "", f"Measured on {machine}.", ""])
    PAGE.write_text(before + BEGIN + table + END + after, encoding="utf-8")


def main() -> None:
    goals()
    FOLDER.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        if not read(name):
            print(f"{name} is left out: it has not been measured.")
            continue
        with pyplot.rc_context(STYLE):
            figure, axes = pyplot.subplots(layout="constrained")
            draw(axes)
            figure.savefig(FOLDER / f"{name}.png")
            pyplot.close(figure)


if __name__ == "__main__":
    main()
