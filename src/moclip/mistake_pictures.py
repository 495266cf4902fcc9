"""Mistakes with a picture each: a frame with its block vectors drawn over it.

Only the videos that are shown are decoded, and their vectors come from the cache.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.errors import VideoError
from moclip.features import locate_videos
from moclip.frames import read_frames
from moclip.image_files import jpeg_uri, resize_image
from moclip.manifest import read_manifest
from moclip.mistakes import Mistakes, find_mistakes, read_predictions, write_mistakes
from moclip.motion import FieldSpec, motion_from_row
from moclip.motion_pictures import DrawingSpec, draw_video
from moclip.raster import lay_over
from moclip.shards import Shard

_WIDTH_PX = 480  # enough to follow the arrows, some 30 KB
# A report is sent by mail: its pictures may take half of the 15 MB that it may be.
MAX_PICTURE_BYTES = 7_000_000
_SPEC = DrawingSpec(field=FieldSpec(upright=True), num_frames=1)


def draw_mistakes(
    output: Path,
    *,
    predictions: Sequence[Path],
    experiment: str,
    manifest: Path,
    motion_index: Path | None,
    root: Path,
    number: int,
) -> None:
    """Write up to `number` mistakes of an experiment, with pictures, from the predictions of its runs.

    Fewer, where their pictures would take more than `MAX_PICTURE_BYTES`. A video whose
    file cannot be read any more is listed without a picture, with the reason.

    Raises:
        DatasetError: A file of predictions is missing or is none.
    """
    tables = [read_predictions(path) for path in predictions]
    found = find_mistakes(tables, experiment=experiment, number=number)
    frame = read_manifest(manifest)
    paths = dict(zip(frame["video_id"], frame["path"], strict=True))
    ids = [mistake.video_id for mistake in found.shown]
    shards = locate_videos(motion_index, video_ids=ids) if motion_index else {}
    drawn = {
        video_id: _draw(video_id, path=root / paths[video_id], shard=shards.get(video_id)) for video_id in sorted(ids)
    }
    write_mistakes(output, mistakes=fit_pictures(found, drawn=drawn))


def fit_pictures(
    mistakes: Mistakes, *, drawn: Mapping[str, tuple[str, str]], max_bytes: int = MAX_PICTURE_BYTES
) -> Mistakes:
    """Return the mistakes with their pictures and notes, `drawn` by id, as many as have `max_bytes` together.

    Left out is, of the class that shows most, what the fewest runs got wrong: each class keeps as many as the others.
    """
    shown = [replace(one, picture=drawn[one.video_id][0], note=drawn[one.video_id][1]) for one in mistakes.shown]
    while sum(len(one.picture) for one in shown) > max_bytes:
        number = Counter(one.class_index for one in shown)
        fullest = max(number, key=lambda index: (number[index], index))
        own = [place for place, one in enumerate(shown) if one.class_index == fullest]
        del shown[min(own, key=lambda place: (shown[place].num_wrong / shown[place].num_runs, -place))]
    return replace(mistakes, shown=tuple(shown))


def _draw(video_id: str, *, path: Path, shard: Path | None) -> tuple[str, str]:
    # The picture, and what is to be said of it: a report is no place to fail for a file that was moved since.
    note = "this video has none in the cache"
    try:
        if shard is not None:
            return _draw_vectors(video_id, path=path, shard=shard), ""
    except VideoError as error:
        note = str(error)
    try:
        return _encode(read_frames(path, video_id=video_id, choose=lambda count: [count // 2]).images[0]), note
    except VideoError as error:
        return "", str(error)


def _draw_vectors(video_id: str, *, path: Path, shard: Path) -> str:
    with Shard(shard) as opened:
        motion = motion_from_row(opened.read_row(video_id).values)
    frame = draw_video(path, video_id=video_id, motion=motion, spec=_SPEC).frames[0]
    height, width = frame.vectors.shape[:2]
    under = resize_image(frame.image, width_px=width, height_px=height)
    return _encode(lay_over(under, rgba=frame.vectors))


def _encode(image: NDArray[np.uint8]) -> str:
    height, width = image.shape[:2]
    scale = min(1.0, _WIDTH_PX / width)
    return jpeg_uri(resize_image(image, width_px=round(width * scale), height_px=max(1, round(height * scale))))
