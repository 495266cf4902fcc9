"""What is the same in every run that computes the same: the bytes of each result, but for what a clock wrote."""

import csv
from pathlib import Path


def read_without_times(path: Path) -> bytes:
    """Return the bytes of a result; of the table of costs all columns but those of a clock."""
    if path.name != "costs.tsv":
        return path.read_bytes()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    return repr([{name: cell for name, cell in row.items() if not name.endswith("_ms")} for row in rows]).encode()
