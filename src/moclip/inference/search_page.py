"""The contact sheet of a search, as one HTML page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moclip.core.files import replace_atomically
from moclip.core.images import jpeg_uri, resize_image
from moclip.errors import VideoError
from moclip.inference.search import Hit, format_time
from moclip.report.figures import Figure, draw_figures
from moclip.report.pages import render_page
from moclip.report.plots import Panel
from moclip.video.frames import read_frames

_WIDTH_PX = 320


def write_contact_sheet(
    path: Path, *, query: str, hits: Sequence[Hit], videos: Mapping[str, Path], facts: Sequence[str]
) -> list[str]:
    """Write the page and return the reason for every frame that could not be shown; `videos` are the files by id."""
    described = [_describe(rank, hit, path=videos.get(hit.video_id)) for rank, hit in enumerate(hits, 1)]
    page = render_page("search.html", query=query, facts=facts, hits=described)
    with replace_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return [hit["reason"] for hit in described if hit["reason"]]


def _describe(rank: int, hit: Hit, *, path: Path | None) -> dict[str, Any]:
    if hit.start_frame == hit.stop_frame:
        span = f"at {format_time(hit.peak_seconds)}"
    else:
        start, stop = format_time(hit.start_seconds), format_time(hit.stop_seconds)
        span = f"{start} to {stop}, best {format_time(hit.peak_seconds)}"
    picture, reason = _draw_frame(hit, path=path)
    known = {"video_id": hit.video_id, "frame": hit.peak_frame, "similarity": hit.similarity, "span": span}
    return {**known, "picture": picture, "reason": reason, "curve": _draw_curve(rank, hit)}


def _draw_frame(hit: Hit, *, path: Path | None) -> tuple[str, str]:
    try:
        if path is None:
            raise VideoError(reason="missing", detail="the manifest has no such video", video_id=hit.video_id)
        image = read_frames(path, video_id=hit.video_id, choose=lambda _: [hit.peak_frame]).images[0]
    except VideoError as error:
        return "", str(error)
    height_px = max(1, round(image.shape[0] * _WIDTH_PX / image.shape[1]))
    return jpeg_uri(resize_image(image, width_px=_WIDTH_PX, height_px=height_px)), ""


def _draw_curve(rank: int, hit: Hit) -> str:
    # Similarity over time, the moment shaded, its best frame marked; nothing for a single point.
    times, values = np.array([*zip(*hit.curve, strict=True)]) if hit.curve else np.empty((2, 0))
    if len(times) < 2 or not np.isfinite(times).all() or not np.ptp(times):
        return ""
    inside = (times >= hit.start_seconds) & (times <= hit.stop_seconds) | (times == times[values.argmax()])
    points = zip(times.tolist(), values.tolist(), inside.tolist(), strict=True)
    rows = [dict(zip(("seconds", "value", "within"), point, strict=True)) for point in points]
    figure = Figure(
        name=f"moment-{rank}", title="", panels=[Panel(title="similarity over time", kind="moment", rows=rows)]
    )
    return draw_figures([figure])[figure.name][0]["svg"]
