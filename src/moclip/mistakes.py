"""The test videos that an experiment got wrong, by the predictions of its runs: the truth and what each method said."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from moclip.errors import DatasetError
from moclip.files import replace_atomically

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a method says of a video: the class that most of its runs name, their mean probability, and how many do."""

    method: str
    class_name: str
    probability: float
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A test video that some run got wrong.

    `picture` is the address of a JPEG that a page carries in itself, or empty; `note` says why it or its vectors
    are absent.
    """

    video_id: str
    class_name: str
    class_index: int
    num_wrong: int
    num_runs: int
    votes: tuple[Vote, ...]
    picture: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Some of the mistakes of one experiment's `method`, of `num_wrong` among its `num_videos` test videos."""

    experiment: str
    method: str
    num_videos: int
    num_wrong: int
    shown: tuple[Mistake, ...]


def write_mistakes(output: Path, *, mistakes: Mistakes) -> None:
    """Write them as JSON; equal mistakes give equal bytes."""
    with replace_atomically(output) as temporary:
        document = {"format": _FORMAT, **asdict(mistakes)}
        temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_mistakes(path: Path) -> Mistakes:
    """Return what `write_mistakes` wrote.

    Raises:
        DatasetError: The file is missing or no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != _FORMAT:
            raise ValueError("another format")
        shown = tuple(
            Mistake(**{**entry, "votes": tuple(Vote(**vote) for vote in entry["votes"])})
            for entry in document.pop("shown")
        )
        return Mistakes(**document, shown=shown)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: expected mistakes ({error}); delete it and run again") from None


def find_mistakes(tables: Sequence[Sequence[Mapping[str, str]]], *, experiment: str, number: int) -> Mistakes:
    """Return the mistakes in the predictions of some runs, `tables` of rows such as predictions.tsv has.

    They are those of fusion, or of the last method in the table where there is no fusion. Of each class first the video
    that most runs got wrong, of equals the one that they were surest of, then a second one of each class, and so on;
    sorted by class and id. A video without scores is no mistake of a method, and is left to the list of rejects.
    """
    methods = [name.removesuffix("_probability") for name in tables[0][0] if name.endswith("_probability")]
    method = "fusion" if "fusion" in methods else methods[-1]
    rows: dict[str, list[Mapping[str, str]]] = {}
    for row in (row for table in tables for row in table):
        rows.setdefault(row["video_id"], []).append(row)
    wrong = [own for own in rows.values() if any(_is_wrong(row, method=method) for row in own)]
    chosen = _spread_over_classes(sorted(wrong, key=lambda own: _rank(own, method=method)))[:number]
    mistakes = [_build_mistake(own, method=method, methods=methods) for own in chosen]
    return Mistakes(
        experiment=experiment,
        method=method,
        num_videos=len(rows),
        num_wrong=len(wrong),
        shown=tuple(sorted(mistakes, key=lambda mistake: (mistake.class_index, mistake.video_id))),
    )


def _is_wrong(row: Mapping[str, str], *, method: str) -> bool:
    return row[method] not in ("", row["class_name"])


def _rank(rows: Sequence[Mapping[str, str]], *, method: str) -> tuple[float, float, str]:
    sure = [float(row[f"{method}_probability"]) for row in rows if _is_wrong(row, method=method)]
    return -len(sure) / len(rows), -float(np.mean(sure)), rows[0]["video_id"]


def _spread_over_classes(ranked: Sequence[Sequence[Mapping[str, str]]]) -> list[Sequence[Mapping[str, str]]]:
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Sequence[Mapping[str, str]]]] = []
    for rows in ranked:
        rounds.append((seen[rows[0]["class_name"]], rows))
        seen[rows[0]["class_name"]] += 1
    return [rows for _, rows in sorted(rounds, key=lambda entry: entry[0])]


def _build_mistake(rows: Sequence[Mapping[str, str]], *, method: str, methods: Sequence[str]) -> Mistake:
    return Mistake(
        video_id=rows[0]["video_id"],
        class_name=rows[0]["class_name"],
        class_index=int(rows[0]["class_index"]),
        num_wrong=sum(_is_wrong(row, method=method) for row in rows),
        num_runs=len(rows),
        votes=tuple(_list_votes(rows, methods=methods)),
    )


def _list_votes(rows: Sequence[Mapping[str, str]], *, methods: Sequence[str]) -> Iterator[Vote]:
    for method in methods:
        probabilities: dict[str, list[float]] = {}
        for row in rows:
            if row[method]:
                probabilities.setdefault(row[method], []).append(float(row[f"{method}_probability"]))
        if probabilities:
            name, own = max(probabilities.items(), key=lambda entry: (len(entry[1]), sum(entry[1]), entry[0]))
            yield Vote(method=method, class_name=name, probability=round(float(np.mean(own)), 6), num_runs=len(own))


def read_predictions(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file that `evaluation.write_predictions` wrote.

    Raises:
        DatasetError: The file is missing or no such file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, dialect="excel-tab"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected predictions ({error}); delete it and run again") from None
    if not rows or not any(name.endswith("_probability") for name in rows[0]):
        raise DatasetError(f"{path}: expected the predictions of a run, found none; delete it and run again")
    return rows
