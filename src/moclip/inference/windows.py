"""Extract the streams of windows of a long video."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import Row
from moclip.config.settings import FrameSettings
from moclip.extraction.frame_choice import read_frame_choice
from moclip.inference.run import RunParts
from moclip.inference.settings import VectorSource, with_device
from moclip.inference.streams import StreamRow, embed_motion
from moclip.motion.fields import choose_windows, frame_times, motion_amounts, slice_motion
from moclip.motion.vectors import MotionVectors
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
from moclip.video.sampling import choose_frames

if TYPE_CHECKING:
    from moclip.encoders.clip import Encoder


# Windows whose frames are in memory at a time, and whose vectors go through the network together.
_WINDOWS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a video, in s and in frames (`stop_frame` is the one after its last), and its streams."""

    start_seconds: float
    stop_seconds: float
    start_frame: int
    stop_frame: int
    entries: tuple[StreamRow, ...]
    notes: tuple[str, ...] = ()


def extract_windows(
    parts: RunParts,
    path: Path,
    *,
    window_seconds: float,
    step_seconds: float,
    encoder: "Encoder | None",
    device: str = "",
) -> Iterator[Window]:
    """Yield the windows over a video with their streams; `encoder` is that of the run, where it uses appearance.

    Raises:
        VideoError: The video cannot be read.
    """
    motion = _read(path, source=parts.motion)
    known = _know_frames(parts, path)
    times, note = frame_times(motion)
    ends = np.append(times[1:], times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1))
    spans = choose_windows(times, window_seconds=window_seconds, step_seconds=step_seconds)
    for first in range(0, len(spans), _WINDOWS_AT_ONCE):
        part = spans[first : first + _WINDOWS_AT_ONCE]
        entries: dict[str, list[StreamRow]] = {_name(path, span): [] for span in part}
        for entry in [
            *_motion_entries(parts, path, motion=motion, spans=part, device=device),
            *_appearance_entries(parts, path, spans=part, encoder=encoder, known=known),
        ]:
            entries[entry.row.video_id].append(entry)
        for span in part:
            yield Window(
                start_seconds=float(times[span[0]]),
                stop_seconds=float(ends[span[1] - 1]),
                start_frame=span[0],
                stop_frame=span[1],
                entries=tuple(entries[_name(path, span)]),
                notes=(note,) if note else (),
            )


def _name(path: Path, span: tuple[int, int]) -> str:
    return f"{path}#{span[0]}-{span[1]}".encode("utf-8", "backslashreplace").decode()


def _motion_entries(
    parts: RunParts, path: Path, *, motion: MotionVectors, spans: Sequence[tuple[int, int]], device: str
) -> Iterator[StreamRow]:
    if parts.motion_network is None:
        return
    rows = []
    for span in spans:
        name = _name(path, span)
        part = slice_motion(motion, start=span[0], stop=span[1])
        rows.append(Row(video_id=name, row_key=name, values=vars(part)))
    yield from embed_motion(parts, rows, device=device)


def _appearance_entries(
    parts: RunParts,
    path: Path,
    *,
    spans: Sequence[tuple[int, int]],
    encoder: "Encoder | None",
    known: Mapping[str, NDArray[Any]],
) -> Iterator[StreamRow]:
    if parts.appearance is None or encoder is None:
        return
    frames, batch_size = parts.appearance.frames, parts.appearance.batch_size
    chosen = [_choose(frames, span=span, video_id=_name(path, span), known=known) for span in spans]
    wanted = sorted({int(frame) for indices in chosen for frame in indices})
    decoded = read_frames(path, video_id=str(path), choose=lambda _: wanted)
    embeddings = encoder.encode_images(decoded.images, batch_size=batch_size)
    place = {int(frame): at for at, frame in enumerate(decoded.frame_index)}
    for span, indices in zip(spans, chosen, strict=True):
        name = _name(path, span)
        values = {"embedding": embeddings[[place[int(frame)] for frame in indices]]}
        yield StreamRow(stream="appearance", row=Row(video_id=name, row_key=name, values=values))


def _know_frames(parts: RunParts, path: Path) -> dict[str, NDArray[Any]]:
    """Return what the policy of the run must know of every frame of a video, (T,) each."""
    policy = parts.appearance.frames.policy if parts.appearance else ""
    if policy == "motion":
        return {"amounts": motion_amounts(_read(path, source=parts.followed))}
    return read_frame_choice(path, video_id=str(path), policy=policy)


def _read(path: Path, *, source: VectorSource | None) -> MotionVectors:
    return read_motion(path, video_id=str(path), source=source.lenient.source if source else "auto")


def _choose(
    frames: FrameSettings, *, span: tuple[int, int], video_id: str, known: Mapping[str, NDArray[Any]]
) -> NDArray[np.int64]:
    # A stretch of a video is looked at as a video is: by the policy of the run, inside the stretch.
    start, stop = span
    indices = choose_frames(
        frames.policy,
        num_frames=stop - start,
        num_selected=frames.count,
        video_id=video_id,
        **{name: values[start:stop] for name, values in known.items()},
    )
    return start + indices


def load_run_encoder(parts: RunParts, *, device: str) -> "Encoder | None":
    """Return the encoder of a run, None where it uses no appearance."""
    if parts.appearance is None:
        return None
    from moclip.encoders.clip import load_encoder  # noqa: PLC0415 (seconds to import)

    return load_encoder(with_device(parts.appearance, device))
