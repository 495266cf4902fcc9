"""What is decoded in a worker process: the vectors of a video, or its chosen frames. Called by name, with JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.frame_choice import MotionRows, build_frame_reader
from moclip.frames import Frames
from moclip.video import MotionSource, prepare_worker, read_motion_row

_prepared: list[bool] = []


def decode_motion(*, video_id: str, path: str, source: MotionSource, spool_folder: str | None) -> dict[str, Any]:
    """Return the motion row of a video, as `video.read_motion_row` does.

    Raises:
        VideoError: It has none.
    """
    _prepare_once()
    folder = None if spool_folder is None else Path(spool_folder)
    return read_motion_row(Path(path), video_id=video_id, source=source, spool_folder=folder)


def decode_frames(
    *, video_id: str, path: str, frames: Mapping[str, Any], motion: tuple[str, str] | None
) -> dict[str, Any]:
    """Return the chosen frames of a video: `frame_index`, `time_seconds`, `num_frames`, and `image_<k>` for each frame.

    `motion` is the shard that holds the motion which the frames follow, and its digest there.

    Raises:
        VideoError: It cannot be read.
    """
    _prepare_once()
    rows = None
    if motion is not None:
        rows = MotionRows(shards={video_id: Path(motion[0])}, digests={video_id: motion[1]})
    found = build_frame_reader(frames, motion=rows)(Path(path), video_id=video_id)
    images = {f"image_{number}": image for number, image in enumerate(found.images)}
    return {name: getattr(found, name) for name in ("frame_index", "time_seconds", "num_frames")} | images


def rebuild_frames(values: Mapping[str, Any]) -> Frames:
    """Return the frames that `decode_frames` described."""
    images: list[NDArray[np.uint8]] = [values[f"image_{number}"] for number in range(len(values["frame_index"]))]
    return Frames(
        images=tuple(images),
        frame_index=values["frame_index"],
        time_seconds=values["time_seconds"],
        num_frames=values["num_frames"],
    )


def _prepare_once() -> None:
    if not _prepared:
        prepare_worker()
        _prepared.append(True)
