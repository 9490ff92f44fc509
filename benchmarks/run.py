"""All benchmarks, one after the other, and the table of goals: what was claimed, what is measured.

    python benchmarks/run.py             all of them; an hour or so
    python benchmarks/run.py levels      some of them
    python benchmarks/run.py goals       none, only the table from results/

Set WANNIERBERRI_PYTHON to the interpreter that WannierBerri is installed for, if it is not this
one. A benchmark that finds wrong numbers fails, and this with it.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from record import read, three, write

SCRIPTS = (
    "eigensolvers",
    "anomalous_hall",
    "integrand",
    "levels",
    "gradient",
    "batches",
    "fitting",
    "convergence",
    "compile",
    "calls",
    "cores",
    "memory",
    "downfold",
    "symmetric_platinum",
)


class Goal(NamedTuple):
    """A claim: what is measured must be at least (or at most) a number."""

    what: str
    goal: float
    at_least: bool
    measure: Callable[[], float]


def value(name: str, column: str, **where: object) -> float:
    """The first number in a column, of the rows that start as they are asked to."""
    for row in read(name):
        if all(row[key.replace("_", " ")].startswith(str(x)) for key, x in where.items()):
            return float(row[column])
    raise LookupError(name)


def hall(bands: int, code: str) -> Goal:
    goals = {
        "WannierBerri": {2: 500, 4: 200, 8: 60, 18: 10},
        "NumPy": {2: 20, 4: 8, 8: 4},
    }
    return Goal(
        f"anomalous Hall, 101 levels, {bands} bands, against {code}",
        goals[code][bands],
        True,
        lambda: value("anomalous_hall", "jaxspin is faster by", bands=bands, code=code),
    )


def against_lapack(bands: int) -> float:
    rows = [row for row in read("eigensolvers") if row["bands"] == str(bands)]
    used = [row for row in rows if row["solver"].startswith("*")]
    if not used:
        raise LookupError
    return float(used[0]["to the library"])


def integrand(peer: str) -> float:
    return value("integrand", "jaxspin is faster by", integrand=peer)


def two_cores() -> float:
    return value("cores", "faster than one", lanes="threads", number=2)


def evaluations() -> float:
    """The fewest evaluations that reach 1e-6 at the smallest gap."""
    rows = [row for row in read("convergence") if row["mesh"] == "Adaptive"]
    reached = [
        float(row["evaluations"])
        for row in rows
        if row["gap"] == "0.001" and float(row["error"]) <= 1e-6 >= float(row["estimated"])
    ]
    if not reached:
        raise LookupError
    return min(reached)


def memory_growth(mode: str) -> float:
    """Memory at the larger mesh to that at one with a tenth of its points."""
    for row in read("gradient"):
        if row["mode"] == mode:
            small = next(column for column in row if column.startswith("memory MiB,"))
            return float(row["memory MiB"]) / float(row[small])
    raise LookupError


def fits(what: str) -> float:
    return value("fitting", "measured", what=what)


def gradient(mode: str) -> float:
    rows = [row for row in read("gradient") if row["mode"] == mode]
    if not rows:
        raise LookupError
    return float(rows[-1]["cost of a value"])


def warm_call(column: str) -> float:
    return value("calls", column, call="insulator")


def symmetric_platinum() -> float:
    rows = read("symmetric_platinum")
    if not rows:
        raise LookupError
    return max(float(row["ratio"]) for row in rows)


GOALS = (
    Goal("warm call on 256 k-points, ms", 2, False, lambda: warm_call("other mu, ms")),
    Goal("the same inside jit, ms", 0.1, False, lambda: warm_call("inside jit, ms")),
    Goal(
        "import, s of processor time",
        1.3,
        False,
        lambda: value("calls", "other mu, ms", call="import"),
    ),
    *(hall(n, "WannierBerri") for n in (2, 4, 8, 18)),
    *(hall(n, "NumPy") for n in (2, 4, 8)),
    Goal(
        "proper spin Hall integrand, 27 components, against naive JAX",
        12,
        True,
        lambda: integrand("proper_corrected, naive"),
    ),
    Goal(
        "conventional spin Hall integrand against naive JAX",
        12,
        True,
        lambda: integrand("conventional, naive"),
    ),
    *(
        Goal(f"eigensolver, {n} bands, against LAPACK", g, True, lambda n=n: against_lapack(n))
        for n, g in ((4, 8), (8, 4), (12, 3))
    ),
    Goal(
        "fraction of the core's peak, 4-band integrand",
        0.2,
        True,
        lambda: value("peak", "fraction of the peak"),
    ),
    Goal(
        "1,000 levels against one, 0 K",
        1.5,
        False,
        lambda: value("levels", "cost of one level", levels=1000, temperature_K="0.0"),
    ),
    Goal(
        "1,000 levels against one, 300 K",
        1.5,
        False,
        lambda: value("levels", "cost of one level", levels=1000, temperature_K="300.0"),
    ),
    Goal(
        "value and gradient (13 parameters) against value, forward mode",
        3.5,
        False,
        lambda: gradient("forward"),
    ),
    Goal("the same, reverse mode", 3.5, False, lambda: gradient("value and reverse")),
    *(
        Goal(
            f"memory of a gradient, 10 times the k-points, {mode} mode",
            1.2,
            False,
            lambda mode=mode: memory_growth(mode),
        )
        for mode in ("forward", "reverse")
    ),
    Goal(
        "downfolding 6 bands to 2, exactly, against diagonalising them",
        2,
        False,
        lambda: value("downfold", "to diagonalising", job="downfold"),
    ),
    Goal(
        "Jacobian of 100 data by 5 parameters against one evaluation",
        8,
        False,
        lambda: fits("Jacobian by 5 parameters"),
    ),
    Goal(
        "memory of that Jacobian, 64³ points against 16³",
        1.2,
        False,
        lambda: fits("its memory at 64^3") / fits("its memory at 16^3"),
    ),
    Goal(
        "fits of 100 with the true value within 2 standard errors, worst of 5 parameters",
        90,
        True,
        lambda: min(fits(f"{name} within") for name in ("A0", "B0", "M0", "M1", "M2")),
    ),
    Goal(
        "symmetric platinum, spin Hall, 24³ to 60³, time in units of WannierBerri's",
        0.25,
        False,
        symmetric_platinum,
    ),
    Goal("two cores against one", 1.8, True, two_cores),
    Goal("evaluations for Haldane, gap 0.001 t, to 1e-6", 30_000, False, evaluations),
)


def table() -> list[dict]:
    rows = []
    for goal in GOALS:
        try:
            measured = goal.measure()
        except (LookupError, ValueError):
            measured = None
        met = measured is not None and (measured >= goal.goal) == goal.at_least
        rows.append(
            {
                "what": goal.what,
                "goal": f"at {'least' if goal.at_least else 'most'} {goal.goal:,}",
                "measured": "" if measured is None else three(measured),
                "met": "not measured" if measured is None else "yes" if met else "no",
            }
        )
    return rows


def main(names: list[str]) -> None:
    if "WANNIERBERRI_PYTHON" not in os.environ and importlib.util.find_spec("wannierberri"):
        os.environ["WANNIERBERRI_PYTHON"] = sys.executable
    failed = []
    for name in names:
        if subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")]).returncode:
            failed.append(name)
    write("goals", table())
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main([name for name in sys.argv[1:] or SCRIPTS if name != "goals"])
