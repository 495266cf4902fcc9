"""Draw pages of motion pictures for given videos or a few training videos."""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from moclip.cache.index import locate_videos
from moclip.cache.reader import Shard
from moclip.config.settings import Settings
from moclip.core.files import replace_atomically
from moclip.core.images import jpeg_uri, png_uri
from moclip.dataset.manifest import read_manifest
from moclip.errors import DatasetError, MoclipError
from moclip.motion.fields import build_field_spec
from moclip.motion.vectors import MotionVectors, motion_from_row
from moclip.pictures.vectors import draw_wheel
from moclip.pictures.videos import (
    DrawingSpec,
    FrameDrawing,
    Image,
    VideoDrawing,
    draw_video,
    write_pictures,
    write_wheel,
)
from moclip.report.pages import count_of, render_page
from moclip.video.motion_vectors import MotionSource, read_motion

_log = logging.getLogger(__name__)

_WHEEL_PX = 300

# Fields with fewer sample points across are shown as squares, not smoothed.
_FINE_PX = 400

Row = TypeVar("Row", bound=Mapping[str, Any])


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A video to draw: its id, its path, a word next to its name, and a function that returns its vectors."""

    video_id: str
    path: Path
    label: str = ""
    load: Callable[[], MotionVectors]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Parts of a page about the drawn videos, and the reasons why others could not be drawn."""

    sections: tuple[dict[str, Any], ...]
    failed: tuple[str, ...]


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
            raise MoclipError("; ".join(drawn.failed))
        if folder is not None:
            write_wheel(folder, max_px=spec.max_px)
        if page is not None:
            _write_page(page, title="Motion in the compressed stream", drawn=drawn, spec=spec)
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
    failed: list[str] = []
    for number, subject in enumerate(subjects):
        try:
            drawing = draw_video(subject.path, video_id=subject.video_id, motion=subject.load(), spec=spec)
        except MoclipError as error:
            failed.append(str(error))
            continue
        keep(number, drawing)
        sections.append(_describe_video(drawing, label=subject.label))
    return Drawn(sections=tuple(sections), failed=tuple(failed))


def _write_page(
    path: Path, *, title: str, drawn: Drawn, spec: DrawingSpec, facts: Sequence[str] = (), back: str = ""
) -> None:
    # `back` is the address of the report that the page belongs to, or nothing. Equal drawings give equal bytes.
    page = render_page(
        "motion.html",
        title=title,
        facts=[count_of(len(drawn.sections), one="video", many="videos"), *facts],
        back=back,
        spec=spec,
        wheel=png_uri(draw_wheel(size_px=_WHEEL_PX, max_px=spec.max_px)),
        failed=drawn.failed,
        sections=drawn.sections,
    )
    with replace_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _describe_video(drawing: VideoDrawing, *, label: str) -> dict[str, Any]:
    # The part of the page about one video; the label, such as its class, is shown with its name.
    return {
        "video_id": drawing.video_id,
        "label": label,
        "facts": list(_list_facts(drawing.motion, is_upright=drawing.is_upright)),
        "shots": [_describe_shot(frame) for frame in drawing.frames],
    }


def _list_facts(motion: MotionVectors, *, is_upright: bool) -> Iterator[str]:
    yield f"{motion.codec_name}, {motion.width_px}\N{MULTIPLICATION SIGN}{motion.height_px} px"
    yield f"{motion.num_frames:,} frames" + f" at {motion.frame_rate:.4g} a second" * math.isfinite(motion.frame_rate)
    yield "vectors of the file" if motion.source == "original" else f"vectors of a {motion.source}"
    changes = ["mirrored"] if motion.orientation.is_mirrored else []
    if motion.orientation.rotation_degrees:
        changes.append(f"turned by {motion.orientation.rotation_degrees}\N{DEGREE SIGN}")
    if changes:
        yield f"to be {' and '.join(changes)}, {'drawn upright' if is_upright else 'drawn as coded'}"


def _describe_shot(frame: FrameDrawing) -> dict[str, Any]:
    share, name = frame.share_without_vector, f"frame {frame.frame_index}"
    facts = [f"{frame.picture_type} {'keyframe' if frame.is_keyframe else 'picture'}"]
    facts += [f"{frame.time_seconds:.3f} s"] if math.isfinite(frame.time_seconds) else []
    facts.append(f"longest vector {frame.longest_px:.3g} px")
    # Two digits below one per cent, where whole ones would round to nothing.
    cells = f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
    facts.append(f"{cells} of the cells have no vector" if share else "every cell has a vector")
    height, width = frame.pictures["frame"].shape[:2]
    panels = {
        "raw": ("Raw field", ", of this frame alone", f"raw field of {name}"),
        "accumulated": ("Accumulated field", f", {frame.reference}", f"accumulated field of {name}"),
        "code-x": ("x", ", as a network reads it", f"pixel code of x, {name}"),
        "code-y": ("y", ", as a network reads it", f"pixel code of y, {name}"),
    }
    return {
        "index": frame.frame_index,
        "facts": facts,
        "is_tall": height > width,
        "image": {"src": jpeg_uri(frame.pictures["frame"]), "alt": name, "width": width, "height": height},
        "vectors": png_uri(frame.pictures["vectors"]),
        "panels": [_describe_panel(frame.pictures[what], *words) for what, words in panels.items()],
    }


def _describe_panel(image: Image, name: str, note: str, alt: str) -> dict[str, Any]:
    height, width = image.shape[:2]
    size = {"width": width, "height": height, "is_coarse": width < _FINE_PX}
    return {"name": name, "note": note, "alt": alt, "src": png_uri(image), **size}


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
        field=build_field_spec(entry.field),
        max_px=entry.max_px,
        num_frames=report.picture_frames,
        coded=entry.field.kind,
    )
    rows = _list_training(manifest, splits=splits)
    places = locate_videos(motion_index, video_ids=[row["video_id"] for row in rows])
    chosen = choose_videos([row for row in rows if row["video_id"] in places], number=report.pictures)
    root = Path(settings.dataset.root)
    drawn = _draw_all([_cached_subject(row, root=root, shard=places[row["video_id"]]) for row in chosen], spec=spec)
    for reason in drawn.failed:
        _log.warning("%s", reason)
    word, named = ("split" if len(splits) == 1 else "splits"), ", ".join(map(str, splits))
    facts = (f"training videos of {word} {named} only", f"fields of the motion network {variant}")
    title = f"Motion pictures of {settings.dataset.name}"
    _write_page(output, title=title, drawn=drawn, spec=spec, facts=facts, back="../report.html")
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


def load_motion(shard: Path, *, video_id: str) -> MotionVectors:
    """Return the cached motion vectors of a video."""
    with Shard(shard) as opened:
        return motion_from_row(opened.read_row(video_id).values)


def _cached_subject(row: Mapping[str, Any], *, root: Path, shard: Path) -> Subject:
    load = partial(load_motion, shard, video_id=row["video_id"])
    return Subject(video_id=row["video_id"], path=root / row["path"], label=row["class_name"], load=load)


def spread_over_classes(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the first of each class first, then the second of each class, and so on."""
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Row]] = []
    for row in rows:
        rounds.append((seen[row["class_name"]], row))
        seen[row["class_name"]] += 1
    return [row for _, row in sorted(rounds, key=lambda entry: entry[0])]


def choose_videos(rows: Sequence[Mapping[str, Any]], *, number: int) -> list[Mapping[str, Any]]:
    """Return `number` rows of a manifest, or all there are: one of each class, then a second one of each, and so on.

    A digest of the ids decides, so that the same videos are chosen everywhere; sorted by class and id.
    """
    chosen = spread_over_classes(sorted(rows, key=lambda row: _digest(row["video_id"])))[:number]
    return sorted(chosen, key=lambda row: (row["class_index"], row["video_id"]))


def _digest(video_id: str) -> bytes:
    return blake2b(video_id.encode("utf-8", "surrogateescape"), digest_size=16).digest()
