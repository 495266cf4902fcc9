"""Parse class lists, split lists and video names."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from moclip.core.names import suggest_nearest
from moclip.errors import DatasetError

# Files with one of these are taken for videos; FFmpeg opens many more.
# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avc", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h261", ".h263", ".h264",
    ".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogg", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
))

# fmt: on
SUBSETS = ("train", "val", "test")

# Control characters of either set, line ends of Unicode, what turns the direction of the text around it (a table then
# shows another name than it holds), and halves of characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_MAX_NAME_BYTES = 1024

_CLASS_LINE = re.compile(r"(\d+)\s+(\S.*)")

_HMDB_LINE = re.compile(r"(\S.*?)\s+([012])")

_HMDB_SUBSETS = {"0": "", "1": "train", "2": "test"}

_UCF_NAME = re.compile(r".*_(g\d+)_c\d+")

# Body part, camera motion, number of people, viewpoint, quality, number of the clip.
_HMDB_NAME = re.compile(r"(.*)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+")

_SPLIT_COLUMN = re.compile(r"split_([1-9]\d*)")


@dataclass(frozen=True, kw_only=True)
class ListEntry:
    """One video as one line of a list names it; `place` is that file and line.

    `subsets` maps the number of a split to train, val, test, or "" for unused. `group` is "" where the list has none.
    """

    place: str
    path: str
    class_name: str
    subsets: Mapping[int, str]
    group: str = ""
    class_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledVideo:
    """One video with all that the lists say of it; `place` is the file and line that name it first."""

    video_id: str
    path: str
    class_name: str
    group: str
    subsets: Mapping[int, str]
    place: str


def parse_class_numbers(text: str, *, source: str) -> dict[str, int]:
    """Return class names with UCF's own numbers, in the order of the file. Lines are `<number> <class name>`.

    Raises:
        DatasetError: A line has another form, or a name or number comes twice.
    """
    numbers: dict[str, int] = {}
    for line, content in _lines(text):
        match = _CLASS_LINE.fullmatch(content)
        if not match:
            raise DatasetError(f"{source}, line {line}: expected `<number> <class name>`, found `{content}`")
        number, name = int(match[1]), check_name(match[2], place=f"{source}, line {line}")
        if name in numbers or number in numbers.values():
            raise DatasetError(f"{source}, line {line}: `{content}` repeats a name or a number; remove one line")
        numbers[name] = number
    return numbers


def parse_ucf_list(text: str, *, source: str, split: int, subset: str) -> list[ListEntry]:
    """Return the entries of a trainlist or testlist. Lines are `<class>/<file>`, in a trainlist also UCF's number.

    Raises:
        DatasetError: A path has no class folder, or leaves the root.
    """
    entries = []
    for line, content in _lines(text):
        place = f"{source}, line {line}"
        words = content.rsplit(maxsplit=1)
        number = int(words[1]) if len(words) == 2 and words[1].isdecimal() else None
        path = check_video_path(content if number is None else words[0], place=place)
        class_name, slash, _ = path.partition("/")
        if not slash:
            raise DatasetError(f"{place}: expected `<class>/<file>`, found `{content}`")
        entries.append(
            ListEntry(place=place, path=path, class_name=class_name, subsets={split: subset}, class_number=number)
        )
    return entries


def parse_hmdb_list(text: str, *, source: str, split: int, class_name: str) -> list[ListEntry]:
    """Return the entries of one `<class>_test_split<N>.txt`. Lines are `<file> 0|1|2`: unused, train, test.

    Raises:
        DatasetError: A line has another form, or a path leaves the root.
    """
    entries = []
    for line, content in _lines(text):
        place = f"{source}, line {line}"
        match = _HMDB_LINE.fullmatch(content)
        if not match:
            raise DatasetError(f"{place}: expected `<file> 0`, `1` or `2`; found `{content}`")
        path = check_video_path(f"{class_name}/{match[1]}", place=place)
        entries.append(
            ListEntry(place=place, path=path, class_name=class_name, subsets={split: _HMDB_SUBSETS[match[2]]})
        )
    return entries


def parse_table(text: str, *, source: str) -> list[ListEntry]:
    """Return the entries of a CSV or TSV table with a header; a tab in the header makes it a TSV.

    Columns: `video` (path below the root) and `class`; where wanted `group`, and `split` or `split_1`, `split_2`, ...
    with train, val, test, or nothing for unused. Other columns are refused, so that none is ignored for a misspelling.

    Raises:
        DatasetError: A column is missing or unknown, or a cell is empty or not of the known words.
    """
    lines = [f"{line}\n" for line in text.split("\n")]
    rows = csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ",", strict=True)
    entries: list[ListEntry] = []
    try:
        header = [cell.strip() for cell in next(rows, [])]
        splits = _split_columns(header, source=source)
        for row in rows:
            if any(cell.strip() for cell in row):
                entries.append(_table_entry(row, header=header, splits=splits, place=f"{source}, line {rows.line_num}"))
    except csv.Error as error:
        raise DatasetError(f"{source}, line {rows.line_num}: no CSV or TSV: {error}; correct that line") from error
    return entries


def merge_entries(entries: Iterable[ListEntry]) -> list[LabelledVideo]:
    """Return one labelled video for each path, sorted by path, for any order of the entries.

    Raises:
        DatasetError: A split names a video twice, or two videos differ in nothing but their suffix.
    """
    merged: dict[str, ListEntry] = {}
    for entry in entries:
        video_id = video_id_of(entry.path)
        first = merged.setdefault(video_id, entry)
        if first is entry:
            continue
        if first.path != entry.path:
            raise DatasetError(
                f"{entry.place}: `{entry.path}` and `{first.path}` ({first.place}) have one id, `{video_id}`; rename"
            )
        both = sorted(first.subsets.keys() & entry.subsets.keys())
        if both or not entry.subsets:
            known = sorted({listed.subsets[split] or "unused" for split in both[:1] for listed in (first, entry)})
            where = f" by split {both[0]}, as {' and '.join(known)}" if both else ""
            raise DatasetError(
                f"{entry.place}: the video `{video_id}` is named twice{where}, first in {first.place}; remove one line"
            )
        merged[video_id] = replace(first, subsets={**first.subsets, **entry.subsets})
    return [_label(entry, video_id=video_id) for video_id, entry in sorted(merged.items())]


def check_video_path(path: str, *, place: str) -> str:
    """Return the path below the root in its one normal form, `/` between its parts.

    Raises:
        DatasetError: The path leaves the root, holds a control character, or ends in no known video suffix.
    """
    parts = [part for part in check_name(path, place=place).split("/") if part not in {"", "."}]
    if path.startswith("/") or ".." in parts or not parts:
        raise DatasetError(f"{place}: expected a path below the root, without `..` or `/` first; found `{path}`")
    if not has_video_suffix(parts[-1]):
        raise DatasetError(f"{place}: expected the name of a video, with a suffix such as .avi or .mp4; found `{path}`")
    return "/".join(parts)


def has_video_suffix(name: str) -> bool:
    """Return whether a file name ends like that of a video."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and f"{dot}{suffix}".lower() in VIDEO_SUFFIXES


def check_name(name: str, *, place: str) -> str:
    """Return the name of a video, class or group as it is.

    Raises:
        DatasetError: It is empty or very long, holds a control character (a tab, a line end, NUL, one that turns the
            direction of text), or is no valid Unicode.
    """
    if not name or _CONTROL.search(name):
        found = f"{name[:200]!a}; rename it"
        raise DatasetError(f"{place}: expected a name without tab, line end or other control character, found {found}")
    if len(name.encode()) > _MAX_NAME_BYTES:
        found = f"{name[:40]!a}...; shorten it"
        raise DatasetError(f"{place}: expected a name of at most {_MAX_NAME_BYTES} bytes, found {found}")
    return name


def video_id_of(path: str) -> str:
    """Return the video id: the path below the root without its suffix."""
    return path[: path.rindex(".")]


def group_of(video_id: str, *, class_name: str) -> str:
    """Return the group in a file name: clips with one group are cut from one source.

    - UCF, `..._g07_c02`: `<class>/g07`. UCF counts its groups within each class.
    - HMDB, `<source>_<class>_f_cm_np1_fr_med_3`: `<source>`, for any class, since one film gives clips of several.
    - Any other name: the video id, a group of its own.

    Source: readme files of UCF101 and HMDB51.
    """
    name = video_id.rpartition("/")[2]
    if ucf := _UCF_NAME.fullmatch(name):
        return f"{class_name}/{ucf[1]}"
    if hmdb := _HMDB_NAME.fullmatch(name):
        source: str = hmdb[1]
        # A few names lack the `_` before the class.
        if source.lower().endswith(class_name.lower()):
            source = source[: len(source) - len(class_name)].rstrip("_")
        return source or video_id
    return video_id


def keep_classes(class_names: Sequence[str], *, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted classes in the order of the class file; nothing wanted keeps all.

    Raises:
        DatasetError: A wanted class is not there.
    """
    for name in wanted:
        if name not in class_names:
            raise DatasetError(f"dataset.classes: there is no class `{name}`; {suggest_nearest(name, class_names)}")
    return tuple(name for name in class_names if not wanted or name in wanted)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(), which also breaks a name at characters that no editor counts as a line end.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _split_columns(header: Sequence[str], *, source: str) -> dict[str, int]:
    known = ("video", "class", "group", "split", "split_1", "split_2", "split_3")
    splits = {name: int(match[1]) for name in header if (match := _SPLIT_COLUMN.fullmatch(name))}
    for name in ("video", "class"):
        if name not in header:
            raise DatasetError(f"{source}, line 1: expected a column `{name}`, found `{', '.join(header)}`")
    for name in header:
        if (name not in known and name not in splits) or header.count(name) > 1:
            raise DatasetError(f"{source}, line 1: unknown or repeated column `{name}`; {suggest_nearest(name, known)}")
    if "split" in header and splits:
        raise DatasetError(f"{source}, line 1: expected `split` or `split_1`, `split_2`, ..., found both; remove one")
    return {"split": 1} if "split" in header else splits


def _table_entry(row: Sequence[str], *, header: Sequence[str], splits: Mapping[str, int], place: str) -> ListEntry:
    if len(row) != len(header):
        raise DatasetError(f"{place}: expected {len(header)} cells as in the header, found {len(row)}")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    for column in splits:
        if cells[column] not in {*SUBSETS, ""}:
            raise DatasetError(f"{place}: {column}: expected train, val, test or nothing, found `{cells[column]}`")
    return ListEntry(
        place=place,
        path=check_video_path(cells["video"], place=place),
        class_name=check_name(cells["class"], place=place),
        subsets={number: cells[column] for column, number in splits.items()},
        group=check_name(cells["group"], place=place) if cells.get("group") else "",
    )


def _label(entry: ListEntry, *, video_id: str) -> LabelledVideo:
    return LabelledVideo(
        video_id=video_id,
        path=entry.path,
        class_name=entry.class_name,
        group=entry.group or group_of(video_id, class_name=entry.class_name),
        subsets=entry.subsets,
        place=entry.place,
    )
