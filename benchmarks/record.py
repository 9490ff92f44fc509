"""What a benchmark measured: printed as a table, kept as a CSV file with machine and versions."""

import csv
import os
import platform
import resource
from pathlib import Path

import equinox
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxspin as js

RESULTS = Path(__file__).parent / "results"


def cpu_time() -> float:
    """Processor seconds this process has used, all threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def write(name: str, rows: list[dict]) -> None:
    """Print the rows as a table and write them to results/NAME.csv."""
    table = Table(title=name)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        file.write(f"# {_machine()}\n")
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _machine() -> str:
    device = jax.devices()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {device.platform} {device.device_kind}; "
        f"jaxspin {js.__version__}, jax {jax.__version__}, numpy {np.__version__}, "
        f"equinox {equinox.__version__}, python {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
