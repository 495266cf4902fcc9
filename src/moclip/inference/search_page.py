"""The contact sheet of a search, as one HTML page."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from moclip.core.files import replace_atomically
from moclip.core.images import jpeg_uri, resize_image
from moclip.errors import VideoError
from moclip.inference.search import Hit, format_time
from moclip.report.pages import build_page
from moclip.video.frames import read_frames

_WIDTH_PX = 320

_CURVE_WIDTH, _CURVE_HEIGHT = 300, 44

_STYLE = """
body { max-width: 84rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.1rem; margin-top: 1.4rem; }
.hit { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.hit img { width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #000; display: block; }
.hit .gone { aspect-ratio: 4 / 3; display: grid; place-items: center; padding: 1rem; overflow-wrap: anywhere; }
.hit figcaption { padding: .6rem .8rem .7rem; overflow-wrap: anywhere; }
.hit b { color: var(--ink); } .hit svg { width: 100%; height: auto; display: block; margin-top: .3rem; }
.hit polyline { fill: none; stroke: var(--fusion); stroke-width: 1.6; } .hit rect { fill: var(--fusion); opacity: .18; }
.hit line { stroke: var(--appearance); stroke-width: 1.6; }
"""


def write_contact_sheet(
    path: Path, *, query: str, hits: Sequence[Hit], videos: Mapping[str, Path], facts: Sequence[str]
) -> list[str]:
    """Write the page and return the reason for every frame that could not be shown; `videos` are the files by id."""
    failed: list[str] = []
    figures = [
        _build_figure(rank, hit, path=videos.get(hit.video_id), failed=failed) for rank, hit in enumerate(hits, 1)
    ]
    dot = " \N{MIDDLE DOT} "
    header = (
        f'<header><p class="eyebrow">MoCLIP-Lite search</p><h1>{escape(query)}</h1>'
        f'<p class="muted">{dot.join(map(escape, facts))}</p></header>'
    )
    page = build_page(f"Search: {query}", body=[header, '<div class="sheet">', *figures, "</div>"], style=_STYLE)
    with replace_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return failed


def _build_figure(rank: int, hit: Hit, *, path: Path | None, failed: list[str]) -> str:
    if hit.start_frame == hit.stop_frame:
        span = f"at {format_time(hit.peak_seconds)}"
    else:
        span = (
            f"{format_time(hit.start_seconds)} to {format_time(hit.stop_seconds)}, best {format_time(hit.peak_seconds)}"
        )
    return (
        f'<figure class="hit">{_build_picture(hit, path=path, failed=failed)}<figcaption>'
        f"<b>{rank}. {escape(hit.video_id)}</b><br>{span} (frame {hit.peak_frame})<br>"
        f"cosine {hit.similarity:.4f}{_build_curve(hit)}</figcaption></figure>"
    )


def _build_picture(hit: Hit, *, path: Path | None, failed: list[str]) -> str:
    try:
        if path is None:
            raise VideoError(reason="missing", detail="the manifest has no such video", video_id=hit.video_id)
        image = read_frames(path, video_id=hit.video_id, choose=lambda _: [hit.peak_frame]).images[0]
    except VideoError as error:
        failed.append(str(error))
        return f'<div class="gone muted">{escape(str(error))}</div>'
    height_px = max(1, round(image.shape[0] * _WIDTH_PX / image.shape[1]))
    small = resize_image(image, width_px=_WIDTH_PX, height_px=height_px)
    return f'<img src="{jpeg_uri(small)}" alt="frame {hit.peak_frame} of {escape(hit.video_id, quote=True)}">'


def _build_curve(hit: Hit) -> str:
    # Similarity over time, the moment shaded, its best frame marked; nothing where one point would be all.
    times = np.array([time for time, _ in hit.curve])
    values = np.array([value for _, value in hit.curve])
    if len(times) < 2 or not np.isfinite(times).all() or not math.isfinite(span := float(np.ptp(times))) or not span:
        return ""
    x_px = (times - times.min()) / span * _CURVE_WIDTH
    y_px = (values.max() - values) / (float(np.ptp(values)) or 1.0) * (_CURVE_HEIGHT - 6) + 3
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(x_px, y_px, strict=True))
    start, peak, stop = (
        (time - times.min()) / span * _CURVE_WIDTH for time in (hit.start_seconds, hit.peak_seconds, hit.stop_seconds)
    )
    return (
        f'<svg viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" role="img" aria-label="similarity over time">'
        f'<rect x="{start:.1f}" y="0" width="{max(1.0, stop - start):.1f}" height="{_CURVE_HEIGHT}"/>'
        f'<line x1="{peak:.1f}" x2="{peak:.1f}" y1="0" y2="{_CURVE_HEIGHT}"/><polyline points="{points}"/></svg>'
    )
