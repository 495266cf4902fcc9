"""The manifest: one row for each video, with its class, group, fingerprint, shard, and subset in each split.

- video_id: path below the root, without suffix; rows are sorted by it
- path: path below the root
- class_name, class_index: label, and its 0-based position in the class file, among the classes that are kept
- group: videos of one group are cut from one source
- fingerprint: 32 hex digits that change when the video does
- shard: 0-based shard that holds the features of the video
- split_<N>: train, val, test, or nothing for unused, in split N
"""

import csv
import logging
import os
import re
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.errors import DatasetError
from moclip.files import replace_atomically
from moclip.labels import LabelledVideo
from moclip.layouts import check_dataset, find_list_files, read_list_file, read_listing, walk_videos
from moclip.manifest_table import COLUMNS, INTEGERS, list_class_names, read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "UnchangedCheck",
    "build_manifest",
    "dataset_signature",
    "list_class_names",
    "list_known_videos",
    "memo_file",
    "read_manifest",
    "shard_of",
    "write_manifest",
]

_log = logging.getLogger(__name__)

# A killed job loses at most this much hashing.
SAVE_SECONDS = 20.0

_MEMO_CELLS = re.compile(r"\d+ -?\d+ -?\d+ [0-9a-f]{32}")
# A tick of the clock of a disk, which may keep whole seconds. What changed so lately before it was read may change once
# more within that tick and look the same: its digest is not remembered. Nor is that of a file from the future.
_COARSE_TICK_NS, _FINE_TICK_NS = 2 * 10**9, 2 * 10**7
# What a digest of a file's bytes holds for: the path of the file, its size in bytes, its time of change in ns, and that
# of its entry on the disk in ns, which nobody can set back.
_Version = tuple[str, int, int, int]


def build_manifest(dataset: Mapping[str, Any], *, memo: Path | None = None, num_threads: int = 4) -> "pd.DataFrame":
    """Return the manifest of a dataset, from its section of the configuration; sorted by video id.

    `memo` is a file that remembers the digests of videos by path, size and time of change, so that only new and changed
    videos are read, by `num_threads` at a time. It is written here and may be deleted at will. The manifest itself says
    nothing of times: a video that is only touched leaves it as it was.

    The fingerprint `stat` is a digest of path, size and time of change, since two videos may share the latter two.

    Raises:
        DatasetError: The lists are at fault, as `layouts.read_listing` says, or name a video that is not there.
    """
    listing = read_listing(dataset)
    videos = sorted(listing.videos, key=lambda video: video.video_id)
    root = Path(dataset["root"])
    versions = _find_versions(videos, root=root)
    if dataset["fingerprint"] == "content":
        fingerprints = _digest_videos(versions, memo=memo, num_threads=num_threads)
    else:
        fingerprints = [_hex(video.path, *version[1:3]) for video, version in zip(videos, versions, strict=True)]
    class_index = {name: index for index, name in enumerate(listing.class_names)}
    columns: dict[str, Sequence[object]] = {
        "video_id": [video.video_id for video in videos],
        "path": [video.path for video in videos],
        "class_name": [video.class_name for video in videos],
        "class_index": [class_index[video.class_name] for video in videos],
        "group": [video.group for video in videos],
        "fingerprint": fingerprints,
        "shard": [shard_of(video.video_id, num_shards=dataset["num_shards"]) for video in videos],
    }
    for split in listing.splits:
        columns[f"split_{split}"] = [video.subsets[split] for video in videos]
    import pandas as pd  # noqa: PLC0415 (most of a second)

    return _with_types(pd.DataFrame(columns))


def memo_file(cache_dir: Path, *, dataset: str) -> Path:
    """Return where a cache remembers the digests of the videos of a dataset, for the `memo` of the others here."""
    return cache_dir / "fingerprints" / f"{dataset}.tsv"


def list_known_videos(dataset: Mapping[str, Any], *, memo: Path) -> list[tuple[str, str, str]]:
    """Return (video_id, path, fingerprint) of every listed video, sorted; "" for one whose bytes were never read.

    No video is opened: fingerprints are those that `build_manifest` remembered at `memo`, taken by path, size and time
    of change alone. That is enough for an estimate; a run looks closer.

    Raises:
        DatasetError: As `build_manifest`.
    """
    videos = sorted(read_listing(dataset).videos, key=lambda video: video.video_id)
    versions = _find_versions(videos, root=Path(dataset["root"]))
    remembered = _read_memo(memo) if dataset["fingerprint"] == "content" else {}
    known = {version[:3]: digest for version, digest in remembered.items()}
    found = []
    for video, version in zip(videos, versions, strict=True):
        stat_digest = _hex(video.path, *version[1:3]) if dataset["fingerprint"] == "stat" else ""
        found.append((video.video_id, video.path, stat_digest or known.get(version[:3], "")))
    return found


def write_manifest(frame: "pd.DataFrame", path: Path) -> None:
    """Write the manifest as a TSV without quotes, sorted by video id, and rename it into place."""
    with replace_atomically(path) as temporary:
        frame.sort_values("video_id").to_csv(
            temporary, sep="\t", index=False, quoting=csv.QUOTE_NONE, lineterminator="\n", encoding="utf-8"
        )


def read_manifest(path: Path) -> "pd.DataFrame":
    """Return a manifest: text everywhere but in class_index and shard, which are int64; "" where a cell is empty.

    Raises:
        DatasetError: The file is missing or is no manifest.
    """
    import pandas as pd  # noqa: PLC0415 (most of a second)

    return _with_types(pd.DataFrame(dict(read_table(path).columns)))


def dataset_signature(dataset: Mapping[str, Any]) -> str:
    """Return 32 hex digits that change when a video below the root, or a list, is added, removed or changed.

    No video is read: path, size and times stand for it. The lists count with their bytes.

    Raises:
        DatasetError: The root or the lists are missing.
    """
    check_dataset(dataset)
    digest = blake2b(f"layout={dataset['layout']}\n".encode(), digest_size=16)
    for path in find_list_files(dataset):
        content = read_list_file(path)
        digest.update(f"lists={path.name}\0{len(content)}\n".encode("utf-8", "surrogateescape"))
        digest.update(content)
    lines = []
    for name, entry in walk_videos(Path(dataset["root"])):
        try:
            status = entry.stat()
            # The time of change cannot be set back: it finds a video that was replaced with its size and time kept.
            changed = status.st_ctime_ns if dataset["fingerprint"] == "content" else 0
            lines.append(f"root={name}\0{status.st_size}\0{status.st_mtime_ns}\0{changed}\n")
        except OSError:  # a link to nothing; whether that matters is for the manifest to say
            lines.append(f"root={name}\0missing\n")
    digest.update("".join(sorted(lines)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def shard_of(video_id: str, *, num_shards: int) -> int:
    """Return the 0-based shard of a video, which follows from its id, so that no other video moves it."""
    digest = blake2b(video_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % num_shards


def _with_types(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.astype({name: "int64" if name in INTEGERS else "str" for name in frame.columns})


def _hex(*parts: object) -> str:
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _find_versions(videos: Sequence[LabelledVideo], *, root: Path) -> list[_Version]:
    versions: list[_Version] = []
    missing: list[LabelledVideo] = []
    for video in videos:
        path = root / video.path
        try:
            status = path.stat()
        except OSError:
            missing.append(video)
            continue
        if not stat.S_ISREG(status.st_mode):
            missing.append(video)
        versions.append((path.as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DatasetError(
            f"{missing[0].place}: the video `{missing[0].path}` is not below {root}{more}; correct dataset.root, or "
            "add the video, or take it off the list"
        )
    return versions


def _digest_videos(versions: Sequence[_Version], *, memo: Path | None, num_threads: int) -> list[str]:
    known = {} if memo is None else _read_memo(memo)
    lasting = dict(known)
    unknown = [version for version in versions if version not in known]
    since, begun = time.monotonic(), time.time_ns()
    executor = ThreadPoolExecutor(max_workers=num_threads)
    try:
        for done, (version, digest) in enumerate(zip(unknown, executor.map(_digest_file, unknown), strict=True)):
            known[version] = digest
            if _is_settled(version, at=begun):
                lasting[version] = digest
            if time.monotonic() - since > SAVE_SECONDS:
                _log.info("fingerprints: %d of %d videos", done + 1, len(unknown))
                _write_memo(memo, lasting)
                since = time.monotonic()
    finally:
        # Also when stopped by an error or a signal: what was computed is kept, and what has not begun never does.
        executor.shutdown(cancel_futures=True)
        if unknown:
            _write_memo(memo, lasting)
    _log.info("fingerprints: %d videos read, %d remembered", len(unknown), len(versions) - len(unknown))
    return [known[version] for version in versions]


def _is_settled(version: _Version, *, at: int) -> bool:
    return all(stamp < at - (_FINE_TICK_NS if stamp % 10**9 else _COARSE_TICK_NS) for stamp in version[2:])


def _digest_file(version: _Version) -> str:
    try:
        with Path(version[0]).open("rb") as file:
            digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
            status = os.fstat(file.fileno())
    except OSError as error:
        raise DatasetError(f"{version[0]}: cannot read the video: {error.strerror}; see its permissions") from error
    if (status.st_size, status.st_mtime_ns) != version[1:3]:
        raise DatasetError(f"{version[0]}: the video changed while it was read; wait until it is whole and run again")
    return digest


class UnchangedCheck:
    """Whether videos, once read, are still those that the manifest lists.

    Attributes:
        kind: What the manifest's fingerprints are of, `content` or `stat`.
    """

    def __init__(self, kind: str, *, root: Path, paths: Collection[Path], memo: Path | None = None) -> None:
        """Take the root of the dataset and the videos to come; `memo` is the one that `build_manifest` wrote.

        A file of the size and the times that it had when its bytes were digested is not digested once more.
        """
        self.kind, self._root = kind, root
        names = {path.as_posix() for path in paths}
        self._known = _read_memo(memo, only=names) if memo is not None and kind == "content" else {}

    def __call__(self, path: Path, *, fingerprint: str) -> None:
        """Do nothing where a video still has this fingerprint.

        Raises:
            DatasetError: It has another one, or cannot be read any more: what was computed of it belongs to no
                fingerprint.
        """
        try:
            # Opened, since a network's file system may answer for the status of a closed file from memory.
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
        except OSError as error:
            raise DatasetError(f"{path}: the video cannot be read any more: {error.strerror}; run again") from error
        version = (path.as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if self.kind == "stat":
            found = _hex(path.relative_to(self._root).as_posix(), *version[1:3])
        else:
            found = self._known.get(version) or _digest_file(version)
        if found != fingerprint:
            raise DatasetError(
                f"{path}: the video changed after the manifest was written: expected the fingerprint "
                f"{fingerprint[:12]}, found {found[:12]}; run again, which reads it anew"
            )


def _read_memo(path: Path, *, only: Collection[str] | None = None) -> dict[_Version, str]:
    known: dict[_Version, str] = {}
    if not path.is_file():
        return known
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1], start=1):
        if only is not None and line.partition("\t")[0] not in only:
            continue
        match line.split("\t"):
            case [name, size, mtime, ctime, digest] if _MEMO_CELLS.fullmatch(f"{size} {mtime} {ctime} {digest}"):
                known[name, int(size), int(mtime), int(ctime)] = digest
            case [_, _, _, _]:  # without the entry's time, as it was written once
                continue
            case _:
                _log.warning("%s, line %d: not understood; the video is read again", path, number)
    return known


def _write_memo(path: Path | None, known: Mapping[_Version, str]) -> None:
    if path is None:
        return
    # Only the last version of each file: what it was before does not come back with the same time.
    latest = {version[0]: "\t".join([*map(str, version), digest]) + "\n" for version, digest in known.items()}
    with replace_atomically(path) as temporary:
        temporary.write_text("".join(line for _, line in sorted(latest.items())), encoding="utf-8")
