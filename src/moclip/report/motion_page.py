"""The page of motion pictures."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moclip.core.images import jpeg_uri, png_uri
from moclip.report.motion import DrawingSpec, FrameDrawing, Image, VideoDrawing
from moclip.report.motion_drawing import draw_wheel
from moclip.report.pages import count_of, render_page

_WHEEL_PX = 300

# Fields with fewer sample points across are shown as squares, not smoothed.
_FINE_PX = 400


@dataclass(frozen=True, kw_only=True)
class FailedVideo:
    """A video that could not be drawn, and why."""

    video_id: str
    reason: str


def build_motion_page(
    title: str,
    *,
    sections: Sequence[dict[str, Any]],
    failed: Sequence[FailedVideo],
    spec: DrawingSpec,
    facts: Sequence[str] = (),
    back: str = "",
) -> str:
    """Return the whole page; equal inputs give equal text.

    `sections` are those of `describe_video`. `back` is the address of the report that the page belongs to, or nothing.
    """
    return render_page(
        "motion.html",
        title=title,
        facts=[count_of(len(sections), one="video", many="videos"), *facts],
        back=back,
        spec=spec,
        wheel=png_uri(draw_wheel(size_px=_WHEEL_PX, max_px=spec.max_px)),
        failed=[video.reason for video in failed],
        sections=sections,
    )


def describe_video(drawing: VideoDrawing, *, label: str = "") -> dict[str, Any]:
    """Return the part of the page about one video; `label` (such as its class) is shown with its name."""
    return {
        "video_id": drawing.video_id,
        "label": label,
        "facts": list(_list_facts(drawing)),
        "shots": [_describe_shot(frame) for frame in drawing.frames],
    }


def _list_facts(drawing: VideoDrawing) -> Iterator[str]:
    yield f"{drawing.codec_name}, {drawing.width_px}\N{MULTIPLICATION SIGN}{drawing.height_px} px"
    rate = f" at {drawing.frame_rate:.4g} a second" if math.isfinite(drawing.frame_rate) else ""
    yield f"{drawing.num_frames:,} frames{rate}"
    yield "vectors of the file" if drawing.source == "original" else f"vectors of a {drawing.source}"
    changes = ["mirrored"] if drawing.orientation.is_mirrored else []
    if drawing.orientation.rotation_degrees:
        changes.append(f"turned by {drawing.orientation.rotation_degrees}\N{DEGREE SIGN}")
    if changes:
        yield f"to be {' and '.join(changes)}, {'drawn upright' if drawing.is_upright else 'drawn as coded'}"


def _describe_shot(frame: FrameDrawing) -> dict[str, Any]:
    share = frame.share_without_vector
    name = f"frame {frame.frame_index}"
    facts = [f"{frame.picture_type} {'keyframe' if frame.is_keyframe else 'picture'}"]
    facts += [f"{frame.time_seconds:.3f} s"] if math.isfinite(frame.time_seconds) else []
    facts.append(f"longest vector {frame.longest_px:.3g} px")
    # Two digits below one per cent, where whole ones would round to nothing.
    cells = f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
    facts.append(f"{cells} of the cells have no vector" if share else "every cell has a vector")
    height, width = frame.image.shape[:2]
    return {
        "index": frame.frame_index,
        "facts": facts,
        "is_tall": height > width,
        "image": {"src": jpeg_uri(frame.image), "alt": name, "width": width, "height": height},
        "vectors": png_uri(frame.vectors),
        "panels": [
            _describe_panel(frame.raw, name="Raw field", note=", of this frame alone", alt=f"raw field of {name}"),
            _describe_panel(
                frame.accumulated,
                name="Accumulated field",
                note=f", {frame.reference}",
                alt=f"accumulated field of {name}",
            ),
            _describe_panel(frame.code_x, name="x", note=", as a network reads it", alt=f"pixel code of x, {name}"),
            _describe_panel(frame.code_y, name="y", note=", as a network reads it", alt=f"pixel code of y, {name}"),
        ],
    }


def _describe_panel(image: Image, *, name: str, note: str, alt: str) -> dict[str, Any]:
    height, width = image.shape[:2]
    size = {"width": width, "height": height, "is_coarse": width < _FINE_PX}
    return {"name": name, "note": note, "alt": alt, "src": png_uri(image), **size}
