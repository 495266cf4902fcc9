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
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from moclip.core.files import replace_atomically
from moclip.dataset.fingerprints import (
    Version,
    digest_videos,
    find_versions,
    hex_digest,
    missing_fingerprint,
)
from moclip.dataset.groups import read_near_duplicates
from moclip.dataset.layouts import check_dataset, find_list_files, read_list_file, read_listing, walk_videos
from moclip.dataset.lists import LabelledVideo
from moclip.dataset.manifest_table import INTEGERS, read_table
from moclip.dataset.missing import report_missing

if TYPE_CHECKING:
    import pandas as pd

    from moclip.config.dataset_settings import Dataset


def build_manifest(
    dataset: "Dataset", *, memo: Path | None = None, near_duplicates: Path | None = None, num_threads: int = 4
) -> "pd.DataFrame":
    """Return the manifest of a dataset, from its section of the configuration; sorted by video id.

    `memo` is a file that remembers the digests of videos by path, size and time of change, so that only new and changed
    videos are read, by `num_threads` at a time. It is written here and may be deleted at will. The manifest itself says
    nothing of times: a video that is only touched leaves it as it was.

    The fingerprint `stat` is a digest of path, size and time of change, since two videos may share the latter two.
    Sets of videos in the table `near_duplicates` are kept together in splits that are drawn.

    Raises:
        DatasetError: The lists are at fault, as `layouts.read_listing` says, or name missing videos that
            `missing.report_missing` does not accept.
    """
    sets = read_near_duplicates(near_duplicates).values() if near_duplicates else ()
    listing = read_listing(dataset, near_duplicates=[[row["video_id"] for row in rows] for rows in sets])
    videos = sorted(listing.videos, key=lambda video: video.video_id)
    root = Path(dataset.root)
    versions = find_versions(videos, root=root)
    missing = [video for video, version in zip(videos, versions, strict=True) if version is None]
    report_missing(missing, videos=videos, root=root, is_allowed=dataset.on_bad_video == "skip")
    found = [version for version in versions if version is not None]
    known: dict[Version, str] = {}
    if dataset.fingerprint == "content":
        known = dict(zip(found, digest_videos(found, memo=memo, num_threads=num_threads), strict=True))
    fingerprints = [
        missing_fingerprint(video.path) if version is None else known.get(version) or _stat_digest(video, version)
        for video, version in zip(videos, versions, strict=True)
    ]
    class_index = {name: index for index, name in enumerate(listing.class_names)}
    columns: dict[str, Sequence[object]] = {
        "video_id": [video.video_id for video in videos],
        "path": [video.path for video in videos],
        "class_name": [video.class_name for video in videos],
        "class_index": [class_index[video.class_name] for video in videos],
        "group": [video.group for video in videos],
        "fingerprint": fingerprints,
        "shard": [shard_of(video.video_id, num_shards=dataset.num_shards) for video in videos],
    }
    for split in listing.splits:
        columns[f"split_{split}"] = [video.subsets[split] for video in videos]
    import pandas as pd  # noqa: PLC0415 (most of a second)

    return _with_types(pd.DataFrame(columns))


def _stat_digest(video: LabelledVideo, version: Version) -> str:
    return hex_digest(video.path, *version[1:3])


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


def dataset_signature(dataset: "Dataset") -> str:
    """Return 32 hex digits that change when a video below the root, or a list, is added, removed or changed.

    No video is read: path, size and times stand for it. The lists count with their bytes.

    Raises:
        DatasetError: The root or the lists are missing.
    """
    check_dataset(dataset)
    digest = blake2b(f"layout={dataset.layout}\n".encode(), digest_size=16)
    for path in find_list_files(dataset):
        content = read_list_file(path)
        digest.update(f"lists={path.name}\0{len(content)}\n".encode("utf-8", "surrogateescape"))
        digest.update(content)
    lines = []
    for name, entry in walk_videos(Path(dataset.root)):
        try:
            status = entry.stat()
            # The time of change cannot be set back: it finds a video that was replaced with its size and time kept.
            changed = status.st_ctime_ns if dataset.fingerprint == "content" else 0
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
