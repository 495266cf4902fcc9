"""Read the manifest as plain columns, without pandas."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from moclip.dataset.lists import SUBSETS, check_name, check_video_path, video_id_of
from moclip.errors import DatasetError

COLUMNS = ("video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard")

INTEGERS = ("class_index", "shard")

_FINGERPRINT = re.compile(r"[0-9A-Za-z]{1,64}")

_SPLIT_COLUMN = re.compile(r"split_[1-9]\d*")

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class ManifestTable:
    """A manifest: a tuple for each column, int in class_index and shard, str elsewhere, "" where a cell is empty."""

    columns: Mapping[str, tuple[Any, ...]]

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        """Return one column."""
        return self.columns[name]

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.columns["video_id"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the split columns, such as `split_1`."""
        return tuple(name for name in self.columns if _SPLIT_COLUMN.fullmatch(name))

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        """Return some columns of every video, sorted by video id."""
        order = sorted(range(len(self)), key=self.columns["video_id"].__getitem__)
        chosen = [self.columns[name] for name in names]
        return [tuple(column[row] for column in chosen) for row in order]


def read_table(path: Path) -> ManifestTable:
    """Return a manifest.

    Raises:
        DatasetError: The file is missing or is no manifest.
    """
    try:
        status = path.stat()
        # A job asks for several parts of one manifest: it is read once for each state of the file.
        return _read_state(path, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: the manifest is missing; build it first") from error
    except (ValueError, OSError) as error:
        raise DatasetError(
            f"{path}: no manifest: {str(error).splitlines()[0]}; build it again", damaged=path
        ) from error
    except DatasetError as error:
        raise DatasetError(str(error), damaged=path) from None


@lru_cache(maxsize=1)
def _read_state(path: Path, state: tuple[int, ...]) -> ManifestTable:
    lines = path.read_bytes().decode("utf-8").split("\n")
    header, *rows = (line.split("\t") for line in lines if line) if any(lines) else ([],)
    if not header:
        raise DatasetError(f"{path}: no manifest: it is empty; build it again")
    _check_header(header, path=path)
    for row in rows:
        if len(row) != len(header):
            found = f"expected {len(header)} cells in each row, found {len(row)} for {row[0][:200]!a}"
            raise DatasetError(f"{path}: no manifest: {found}; build it again")
    cells = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    table = ManifestTable(columns={**cells, **{name: _integers(cells[name], path=path) for name in INTEGERS}})
    _check_rows(table, path=path)
    return table


def list_class_names(columns: Any) -> tuple[str, ...]:
    """Return the class names of a manifest, a `ManifestTable` or a data frame, in the order of their index.

    Raises:
        DatasetError: The indices are not those of the names, 0, 1, 2, ...
    """
    pairs = sorted(
        {(int(index), name) for index, name in zip(columns["class_index"], columns["class_name"], strict=True)}
    )
    if [index for index, _ in pairs] != list(range(len(pairs))):
        raise DatasetError("manifest: expected one class name for each class index from 0; build the manifest again")
    return tuple(name for _, name in pairs)


def _check_header(header: Sequence[str], *, path: Path) -> None:
    splits = [name for name in header if _SPLIT_COLUMN.fullmatch(name)]
    if list(header) != [*COLUMNS, *splits] or not splits or len(set(splits)) < len(splits):
        expected = ", ".join([*COLUMNS, "split_1, ..."])
        raise DatasetError(
            f"{path}: expected the columns {expected}; found {', '.join(header)}; build the manifest again"
        )


def _integers(cells: Sequence[str], *, path: Path) -> tuple[int, ...]:
    for cell in cells:
        if not _INTEGER.fullmatch(cell):
            found = f"found `{cell[:200]}`"
            raise DatasetError(f"{path}: class_index and shard: expected integers: {found}; build it again")
    return tuple(map(int, cells))


def _check_rows(table: ManifestTable, *, path: Path) -> None:
    # A manifest may have been edited, or cut short: a path must not leave the root, nor an id stand for two videos.
    for name in table.splits:
        for value in set(table[name]) - {*SUBSETS, ""}:
            raise DatasetError(f"{path}: {name}: expected train, val, test or nothing, found `{value}`; build it again")
    if any(min(table[name], default=0) < 0 for name in INTEGERS):
        raise DatasetError(f"{path}: class_index and shard: expected numbers from 0; build it again")
    ids = table["video_id"]
    if len(set(ids)) < len(ids):
        twice = next(video_id for video_id, count in Counter(ids).items() if count > 1)
        raise DatasetError(f"{path}: expected each video once, found {twice!a} twice; build it again")
    names = ("video_id", "path", "class_name", "group", "fingerprint")
    for number, row in enumerate(zip(*(table[name] for name in names), strict=True), start=2):
        _check_row(*row, place=f"{path}, line {number}")


def _check_row(video_id: str, video_path: str, class_name: str, group: str, fingerprint: str, *, place: str) -> None:
    is_normal = check_video_path(video_path, place=place) == video_path and video_id_of(video_path) == video_id
    if not is_normal or not _FINGERPRINT.fullmatch(fingerprint):
        raise DatasetError(f"{place}: the row of {video_id[:200]!a} is damaged; build it again")
    check_name(class_name, place=place)
    check_name(group or video_id, place=place)
