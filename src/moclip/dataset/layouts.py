"""Read the listing of a dataset in any layout: UCF101, HMDB51, folders or a table."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moclip.core.names import suggest_nearest
from moclip.dataset.groups import assign_groups, join_groups
from moclip.dataset.lists import (
    LabelledVideo,
    ListEntry,
    check_name,
    check_video_path,
    has_video_suffix,
    keep_classes,
    merge_entries,
    parse_class_numbers,
    parse_hmdb_list,
    parse_table,
    parse_ucf_list,
)
from moclip.dataset.splits import draw_folds, draw_subset
from moclip.errors import DatasetError

if TYPE_CHECKING:
    from moclip.config.dataset_settings import Dataset

# Names of the folders of a split, in lower case.
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What the lists say: class names in order, the numbers of the splits, and the videos that some split uses.

    Every video has a subset in each split: train, val, test, or "" for unused.
    """

    class_names: tuple[str, ...]
    splits: tuple[int, ...]
    videos: tuple[LabelledVideo, ...]


@dataclass(frozen=True, kw_only=True)
class _Lists:
    # What a layout's files say, nothing kept back. `class_names` are sorted where there is no class file.
    class_names: tuple[str, ...]
    splits: tuple[int, ...]
    entries: list[ListEntry]


def check_dataset(dataset: "Dataset") -> None:
    """Do nothing where the root, and the lists that the layout needs, are there.

    Raises:
        DatasetError: One of them is not.
    """
    root, layout = Path(dataset.root), dataset.layout
    if not root.is_dir():
        raise DatasetError(f"dataset.root: expected a folder of videos, found none at {root}; correct the path")
    if layout == "folders":
        return
    expected = "file" if layout == "table" else "folder of list files"
    if not dataset.lists:
        raise DatasetError(f"dataset.lists: the layout `{layout}` needs a {expected}; give its path")
    lists = Path(dataset.lists)
    if not (lists.is_file() if layout == "table" else lists.is_dir()):
        raise DatasetError(f"dataset.lists: expected a {expected}, found none at {lists}; correct the path")


def read_listing(dataset: "Dataset", *, near_duplicates: Iterable[Sequence[str]] = ()) -> Listing:
    """Return what the lists of a dataset say, its test sets drawn where they bring no split, its validation sets drawn.

    `ucf101`: classes in the order of classInd.txt. `hmdb51`, `folders` and `table`, which have no class file: sorted by
    name. `dataset.classes` keeps some of them in that order. `folders` takes every file with a known video suffix that
    is not hidden, as `<class>/<video>` or with a split as `train/<class>/<video>`, `val/...` and `test/...`; the others
    take the videos that a list names. A video that no split uses is left out.

    The test set of a dataset without splits follows from its groups and `test_fraction` alone, so that it stays the
    same for every `validation_seed`. With `splits.folds`, each group is in the test set of exactly one split. Groups
    that share a set of `near_duplicates`, given by video ids, are joined first. Validation videos are drawn from train
    by whole groups, separately for each split; a split whose list names validation videos of its own keeps those.

    Raises:
        DatasetError: The lists contradict themselves, name an unknown class, leave a class without train videos or a
            split without test videos; reported in one line that names file, line and video.
    """
    check_dataset(dataset)
    lists = _READERS[dataset.layout](Path(dataset.root), Path(dataset.lists))
    class_names = keep_classes(lists.class_names, wanted=dataset.classes)
    kept = set(class_names)
    videos = merge_entries(entry for entry in lists.entries if entry.class_name in kept)
    if not videos:
        raise DatasetError(f"dataset {dataset.name}: not one video; see dataset.root, lists and classes")
    if dataset.groups:
        _check_ungrouped(lists)
        videos = assign_groups(videos, rule=dataset.groups)
    splits = lists.splits
    if splits:
        _check_brought(dataset, videos=videos, splits=splits)
    else:
        videos = join_groups(videos, sets=near_duplicates)
        splits, videos = _draw_test(videos, dataset=dataset)
    for split in splits:
        videos = _draw_validation(videos, split=split, dataset=dataset)
        _check_split(videos, split=split, class_names=class_names)
    videos = [_complete(video, splits=splits, default="") for video in videos]
    used = tuple(video for video in videos if any(video.subsets.values()))
    return Listing(class_names=class_names, splits=splits, videos=used)


def find_list_files(dataset: "Dataset") -> list[Path]:
    """Return the list files that the layout reads, sorted by name."""
    patterns = {"ucf101": ("classInd.txt", "trainlist*.txt", "testlist*.txt"), "hmdb51": ("*_test_split*.txt",)}
    if dataset.layout == "table":
        return [Path(dataset.lists)]
    found = (Path(dataset.lists).glob(pattern) for pattern in patterns.get(dataset.layout, ()))
    return sorted(path for paths in found for path in paths)


def read_list_file(path: Path) -> bytes:
    """Return the bytes of a list file.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot read this list file: {error.strerror}; see its permissions") from error


def walk_videos(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every file below the root with a known video suffix: its path below the root, and its entry.

    Links are followed. The order is that of the disk.

    Raises:
        DatasetError: A folder cannot be read, or a link leads back to a folder above it.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        prefix, above = waiting.pop()
        folder = root / prefix
        try:
            status = folder.stat()
            here = (status.st_dev, status.st_ino)
            if here in above:
                raise DatasetError(f"dataset.root: the link {folder} leads back to a folder above it; remove it")
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append((f"{prefix}{entry.name}/", above | {here}))
                    elif has_video_suffix(entry.name):
                        yield f"{prefix}{entry.name}", entry
        except OSError as error:
            raise DatasetError(
                f"dataset.root: cannot read the folder {folder}: {error.strerror}; see its permissions"
            ) from error


def _complete(video: LabelledVideo, *, splits: Sequence[int], default: str) -> LabelledVideo:
    subsets = {split: video.subsets.get(split, "") or default for split in splits}
    return LabelledVideo(**{**vars(video), "subsets": subsets})


def _check_ungrouped(lists: _Lists) -> None:
    named = next((entry for entry in lists.entries if entry.group), None)
    if named:
        raise DatasetError(
            f"{named.place}: the table has groups (`{named.group}`), and so has dataset.groups; remove one of them"
        )


def _check_brought(dataset: "Dataset", *, videos: Sequence[LabelledVideo], splits: Sequence[int]) -> None:
    if dataset.splits.folds or dataset.near_duplicates.keep_together:
        key = "splits.folds" if dataset.splits.folds else "near_duplicates.keep_together"
        raise DatasetError(f"dataset.{key}: expected a dataset without splits to draw them; drop the key")
    if not dataset.groups:
        return  # a test refuses a video of a group that shaped a model
    for split in splits:
        tested = {video.group: video for video in videos if video.subsets.get(split) == "test"}
        for video in videos:
            if video.subsets.get(split) in ("train", "val") and video.group in tested:
                raise DatasetError(
                    f"dataset.groups: split {split} has `{video.video_id}` in {video.subsets[split]} and "
                    f"`{tested[video.group].video_id}` in test, both of the group `{video.group}`; move one, or "
                    "correct the rule"
                )


def _draw_test(videos: list[LabelledVideo], *, dataset: "Dataset") -> tuple[tuple[int, ...], list[LabelledVideo]]:
    if dataset.splits.folds:
        splits = tuple(range(1, dataset.splits.folds + 1))
        return splits, draw_folds(videos, num_folds=len(splits), seed=dataset.splits.seed)
    videos = draw_subset(videos, split=1, taken_from="", subset="test", fraction=dataset.test_fraction, salt="test")
    return (1,), [_complete(video, splits=(1,), default="train") for video in videos]


def _draw_validation(videos: list[LabelledVideo], *, split: int, dataset: "Dataset") -> list[LabelledVideo]:
    given = {video.group: video for video in videos if video.subsets.get(split) == "val"}
    if not given:
        return draw_subset(
            videos,
            split=split,
            taken_from="train",
            subset="val",
            fraction=dataset.validation_fraction,
            salt=f"validation {dataset.validation_seed} {split}",
        )
    for video in videos:
        if video.subsets.get(split) == "train" and video.group in given:
            other = given[video.group]
            raise DatasetError(
                f"{video.place}: split {split} has `{video.video_id}` in train and `{other.video_id}` in val, both of "
                f"the group `{video.group}`; move one, or give them groups of their own"
            )
    return videos


def _check_split(videos: Sequence[LabelledVideo], *, split: int, class_names: Sequence[str]) -> None:
    trained = {video.class_name for video in videos if video.subsets.get(split) == "train"}
    absent = [name for name in class_names if name not in trained]
    if absent:
        more = f" (nor have {len(absent) - 1} more)" if len(absent) > 1 else ""
        groups = {video.group for video in videos if video.class_name == absent[0]}
        more += f"; all of its videos are of the group `{min(groups)}`" if len(groups) == 1 else ""
        raise DatasetError(
            f"split {split}: the class `{absent[0]}` has no train video{more}; add some, or "
            "list the classes that have in dataset.classes"
        )
    if not any(video.subsets.get(split) == "test" for video in videos):
        raise DatasetError(f"split {split}: not one test video; name some in the list, or raise dataset.test_fraction")


def _read_text(path: Path) -> str:
    try:
        return read_list_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected UTF-8 text, found other bytes at byte {error.start}; convert") from error


def _read_ucf101(root: Path, lists: Path) -> _Lists:
    numbers = parse_class_numbers(_read_text(lists / "classInd.txt"), source=str(lists / "classInd.txt"))
    splits = _numbers_of(lists, prefix="trainlist")
    if not splits or splits != _numbers_of(lists, prefix="testlist"):
        raise DatasetError(
            f"{lists}: expected pairs trainlist01.txt and testlist01.txt, 02, ...; add the missing files"
        )
    entries = []
    for split in splits:
        for subset in ("train", "test"):
            path = lists / f"{subset}list{split:02d}.txt"
            entries += parse_ucf_list(_read_text(path), source=str(path), split=split, subset=subset)
    for entry in entries:
        if entry.class_name not in numbers:
            near = suggest_nearest(entry.class_name, numbers)
            raise DatasetError(f"{entry.place}: the class `{entry.class_name}` is not in classInd.txt; {near}")
        number = numbers[entry.class_name]
        if entry.class_number not in {None, number}:
            raise DatasetError(
                f"{entry.place}: `{entry.path}` has the number {entry.class_number}, but classInd.txt gives "
                f"`{entry.class_name}` the number {number}; correct one of them"
            )
    return _Lists(class_names=tuple(numbers), splits=splits, entries=entries)


def _numbers_of(lists: Path, *, prefix: str) -> tuple[int, ...]:
    names = (path.stem.removeprefix(prefix) for path in lists.glob(f"{prefix}[0-9][0-9].txt"))
    return tuple(sorted(int(name) for name in names))


def _read_hmdb51(root: Path, lists: Path) -> _Lists:
    files: dict[str, dict[int, Path]] = {}
    for path in sorted(lists.glob("*_test_split[1-9].txt")):
        class_name, _, number = path.stem.rpartition("_test_split")
        files.setdefault(check_name(class_name, place=str(path)), {})[int(number)] = path
    splits = tuple(sorted({number for numbered in files.values() for number in numbered}))
    if not files:
        raise DatasetError(f"{lists}: expected files named <class>_test_split1.txt, 2, 3; found none; correct the path")
    entries = []
    for class_name in sorted(files):
        for split in splits:
            if split not in files[class_name]:
                raise DatasetError(f"{lists}: {class_name}_test_split{split}.txt is missing; other classes have theirs")
            path = files[class_name][split]
            entries += parse_hmdb_list(_read_text(path), source=str(path), split=split, class_name=class_name)
    return _Lists(class_names=tuple(sorted(files)), splits=splits, entries=entries)


def _read_folders(root: Path, lists: Path) -> _Lists:
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    found = [name for name, _ in walk_videos(root) if not any(part.startswith(".") for part in name.split("/"))]
    paths = [check_video_path(name, place=str(root)) for name in found]
    for path in paths:
        if "/" not in path:
            raise DatasetError(f"{root}: `{path}` lies in no class folder; move it into one")
    subsets = _find_split_folders(names, paths=paths, root=root)
    if not subsets:
        class_names = tuple(check_name(name, place=str(root)) for name in names)
        listed = [ListEntry(place=str(root), path=path, class_name=path.split("/")[0], subsets={}) for path in paths]
        return _Lists(class_names=class_names, splits=(), entries=listed)
    listed = []
    for path in paths:
        folder, class_name = path.split("/")[:2]
        listed.append(ListEntry(place=str(root), path=path, class_name=class_name, subsets={1: subsets[folder]}))
    return _Lists(class_names=tuple(sorted({entry.class_name for entry in listed})), splits=(1,), entries=listed)


def _find_split_folders(names: Sequence[str], *, paths: Sequence[str], root: Path) -> dict[str, str]:
    """Return the subset of each folder of a tree `<subset>/<class>/<video>`, or nothing for `<class>/<video>`.

    Raises:
        DatasetError: The tree is neither, or has no folder of training or of test videos.
    """
    flat = {path.split("/")[0] for path in paths if path.count("/") == 1}
    found = {name: _SPLIT_FOLDERS[name.lower()] for name in names if name.lower() in _SPLIT_FOLDERS}
    # A class may be called `test`: its videos are directly in its folder.
    subsets = {name: subset for name, subset in found.items() if name not in flat}
    if not subsets:
        return {}
    expected = "expected `<class>/<video>`, or `train/<class>/<video>` with `test` and, if there is one, `val`"
    others = sorted(set(names) - subsets.keys())
    if others:
        where = f"found `{min(subsets)}/<class>/<video>` next to the folder `{others[0]}`"
        raise DatasetError(f"{root}: {expected}; {where}; move one, or list the videos in a table (layout: table)")
    for subset in ("train", "val", "test"):
        folders = sorted(name for name, own in subsets.items() if own == subset)
        if len(folders) > 1:
            raise DatasetError(
                f"{root}: `{folders[0]}` and `{folders[1]}` are both {subset}; move the videos of one into the other"
            )
        if not folders and subset != "val":
            raise DatasetError(f"{root}: {expected}; found {', '.join(sorted(subsets))}; add or rename a folder")
    return subsets


def _read_table(root: Path, lists: Path) -> _Lists:
    entries = parse_table(_read_text(lists), source=str(lists))
    class_names = tuple(sorted({entry.class_name for entry in entries}))
    splits = tuple(sorted({split for entry in entries for split in entry.subsets}))
    return _Lists(class_names=class_names, splits=splits, entries=entries)


_READERS: dict[str, Callable[[Path, Path], _Lists]] = {
    "ucf101": _read_ucf101,
    "hmdb51": _read_hmdb51,
    "folders": _read_folders,
    "table": _read_table,
}
