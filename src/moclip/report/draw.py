"""Draw pages of motion pictures for given videos or a few training videos."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from moclip.cache.index import locate_videos
from moclip.cache.reader import Shard
from moclip.config.network_settings import FieldSettings
from moclip.config.settings import Settings
from moclip.core.files import replace_atomically
from moclip.dataset.manifest import read_manifest
from moclip.errors import DatasetError, MoclipError
from moclip.motion.fields import FieldSpec
from moclip.motion.vectors import MotionVectors, motion_from_row
from moclip.report.motion import DrawingSpec, VideoDrawing, draw_video, write_pictures, write_wheel
from moclip.report.motion_page import FailedVideo, build_motion_page, describe_video
from moclip.video.motion_vectors import MotionSource, read_motion

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A video to draw: its id, its path, a word next to its name, and a function that returns its vectors."""

    video_id: str
    path: Path
    label: str = ""
    load: Callable[[], MotionVectors]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came of drawing some videos: parts of a page, and what could not be drawn."""

    sections: tuple[dict[str, Any], ...]
    failed: tuple[FailedVideo, ...]


def draw_files(
    paths: Sequence[Path], *, source: MotionSource, spec: DrawingSpec, page: Path | None, folder: Path | None
) -> Drawn:
    """Draw video files onto a page, and as PNG files into a folder, and return what came of it.

    Raises:
        MoclipError: Not one video could be drawn, or the pictures cannot be written.
    """
    names = _file_names(paths)

    def keep(number: int, drawing: VideoDrawing) -> None:
        if folder is not None:
            write_pictures(folder, drawing=drawing, name=names[number])

    subjects = [_subject_of(path, source=source) for path in paths]
    try:
        drawn = _draw_all(subjects, spec=spec, keep=keep)
        if not drawn.sections:
            raise MoclipError("; ".join(video.reason for video in drawn.failed))
        if folder is not None:
            write_wheel(folder, max_px=spec.max_px)
        if page is not None:
            title = "Motion in the compressed stream"
            _write_page(page, build_motion_page(title, sections=drawn.sections, failed=drawn.failed, spec=spec))
    except OSError as error:
        raise MoclipError(
            f"{error.filename}: the pictures cannot be written: {error.strerror}; name another folder"
        ) from None
    return drawn


def _subject_of(path: Path, *, source: MotionSource) -> Subject:
    return Subject(video_id=str(path), path=path, load=lambda: read_motion(path, video_id=str(path), source=source))


def _file_names(paths: Sequence[Path]) -> list[str]:
    # A name of a file for each video, none twice.
    seen: Counter[str] = Counter()
    names: list[str] = []
    for path in paths:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).lstrip(".") or "video"
        seen[plain] += 1
        names.append(plain if seen[plain] == 1 else f"{plain}-{seen[plain]}")
    return names


def _draw_all(
    subjects: Sequence[Subject], *, spec: DrawingSpec, keep: Callable[[int, VideoDrawing], None] = lambda *_: None
) -> Drawn:
    sections: list[dict[str, Any]] = []
    failed: list[FailedVideo] = []
    for number, subject in enumerate(subjects):
        try:
            drawing = draw_video(subject.path, video_id=subject.video_id, motion=subject.load(), spec=spec)
        except MoclipError as error:
            failed.append(FailedVideo(video_id=subject.video_id, reason=str(error)))
            continue
        keep(number, drawing)
        sections.append(describe_video(drawing, label=subject.label))
    return Drawn(sections=tuple(sections), failed=tuple(failed))


def _write_page(path: Path, page: str) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def write_motion_pictures(
    output: Path, *, manifest: Path, motion_index: Path, variant: str, settings: Settings, splits: Sequence[int]
) -> None:
    """Write the page of a few training videos as a motion network variant sees them, from their cached vectors.

    Only these videos are decoded, for their frames. One that cannot be is named on the page with its reason.

    Raises:
        DatasetError: The manifest has no such split.
    """
    entry, report = settings.motion_network[variant], settings.report
    spec = DrawingSpec(
        field=field_spec_of(entry.field),
        max_px=entry.max_px,
        num_frames=report.picture_frames,
        coded=entry.field.kind,
    )
    rows = _list_training(manifest, splits=splits)
    places = locate_videos(motion_index, video_ids=[row["video_id"] for row in rows])
    chosen = choose_videos([row for row in rows if row["video_id"] in places], number=report.pictures)
    root = Path(settings.dataset.root)
    drawn = _draw_all([_cached_subject(row, root=root, shard=places[row["video_id"]]) for row in chosen], spec=spec)
    for video in drawn.failed:
        _log.warning("%s", video.reason)
    word, named = ("split" if len(splits) == 1 else "splits"), ", ".join(map(str, splits))
    page = build_motion_page(
        f"Motion pictures of {settings.dataset.name}",
        sections=drawn.sections,
        failed=drawn.failed,
        spec=spec,
        facts=(f"training videos of {word} {named} only", f"fields of the motion network {variant}"),
        back="../report.html",
    )
    _write_page(output, page)
    _log.info("%d videos drawn, %d could not be", len(drawn.sections), len(drawn.failed))


def _list_training(manifest: Path, *, splits: Sequence[int]) -> list[Mapping[str, Any]]:
    # The videos that no split tests or validates on: what is looked at here steers nobody towards a test.
    frame = read_manifest(manifest)
    columns = [f"split_{split}" for split in splits]
    absent = [name.removeprefix("split_") for name in columns if name not in frame]
    if absent:
        raise DatasetError(f"{manifest}: expected split {', '.join(absent)}, found none; change `splits`")
    is_train = (frame[columns] == "train").all(axis=1)
    return [{str(key): value for key, value in row.items()} for row in frame[is_train].to_dict("records")]


def _cached_subject(row: Mapping[str, Any], *, root: Path, shard: Path) -> Subject:
    def load() -> MotionVectors:
        with Shard(shard) as opened:
            return motion_from_row(opened.read_row(row["video_id"]).values)

    return Subject(video_id=row["video_id"], path=root / row["path"], label=row["class_name"], load=load)


def choose_videos(rows: Sequence[Mapping[str, Any]], *, number: int) -> list[Mapping[str, Any]]:
    """Return `number` rows of a manifest, or all there are: one of each class, then a second one of each, and so on.

    A digest of the ids decides, so that the same videos are chosen everywhere; sorted by class and id.
    """
    ranked = sorted(rows, key=lambda row: _digest(row["video_id"]))
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Mapping[str, Any]]] = []
    for row in ranked:
        rounds.append((seen[row["class_name"]], row))
        seen[row["class_name"]] += 1
    chosen = [row for _, row in sorted(rounds, key=lambda entry: entry[0])[:number]]
    return sorted(chosen, key=lambda row: (row["class_index"], row["video_id"]))


def _digest(video_id: str) -> bytes:
    return blake2b(video_id.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def field_spec_of(field: FieldSettings) -> FieldSpec:
    """Return the accumulated field of the section `field` of a motion network; a window of 0 goes to the keyframe."""
    return FieldSpec(
        window=field.window or None,
        stride=field.stride,
        compensate_camera=field.compensate_camera,
        upright=field.upright,
    )
