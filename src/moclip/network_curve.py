"""The picture of how a motion network was trained, from its history: a stage of its own, so drawing trains nothing."""

import csv
import math
from pathlib import Path

from moclip.errors import DatasetError
from moclip.files import replace_atomically
from moclip.learning_curve import draw_learning_curve

_COLUMNS = ("train_loss", "val_loss", "train_top_1", "val_top_1")


def write_network_curve(path: Path, *, history: Path, title: str) -> None:
    """Write the learning curve behind a `history.tsv` as an SVG document.

    Raises:
        DatasetError: The history is missing or is none.
    """
    try:
        with history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, dialect="excel-tab"))
        values = {name: [float(row[name]) if row[name] else math.nan for row in rows] for name in _COLUMNS}
        best_epoch = next(int(row["epoch"]) for row in rows if row["chosen"] == "1")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise DatasetError(
            f"{history}: expected the history of a motion network ({error!r}); delete it and train again"
        ) from None
    drawn = draw_learning_curve(**values, best_epoch=best_epoch, title=title)
    with replace_atomically(path) as temporary:
        temporary.write_text(drawn, encoding="utf-8")
