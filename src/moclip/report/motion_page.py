"""The page of motion pictures, as one HTML file."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from moclip.core.images import jpeg_uri, png_uri
from moclip.report.motion import DrawingSpec, FrameDrawing, VideoDrawing
from moclip.report.motion_drawing import FUTURE_COLOUR, PAST_COLOUR, draw_wheel
from moclip.report.pages import build_page

_DOT, _TIMES, _DEGREE = "\N{MIDDLE DOT}", "\N{MULTIPLICATION SIGN}", "\N{DEGREE SIGN}"

_WHEEL_PX, _WHEEL_ROOM_PX = 300, 66

# Fields with fewer sample points across are shown as squares, not smoothed.
_FINE_PX = 400

_PAST, _FUTURE = (f"rgb{colour}" for colour in (PAST_COLOUR, FUTURE_COLOUR))

PICTURE_STYLE = f"""
body {{ max-width: 84rem; }} h2, .warn {{ overflow-wrap: anywhere; }}
.key-card {{
  display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: center; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.4rem; margin: 1.4rem 0;
}}
.key-card > div {{ flex: 1 1 20rem; min-width: 0; }}
.key-card ul {{ list-style: none; padding: 0; margin: 0 0 .8rem; display: grid; gap: .5rem; font-size: .92rem; }}
.key-card li {{ display: flex; gap: .7rem; align-items: center; line-height: 1.35; }}
.key-card p {{ margin: 0 0 .5rem; }}
.wheel {{ width: 13.5rem; flex: none; }} .wheel circle {{ fill: none; stroke: #0005; stroke-width: 1.2; }}
.wheel text {{ font-size: 22px; }} .wheel .on {{ fill: #000b; font-size: 20px; }}
.swatch {{ flex: none; width: 3.6rem; height: 1.9rem; border-radius: 4px; background: #56606b; }}
.swatch path, .swatch circle {{ fill: none; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }}
.past {{ stroke: {_PAST}; }} .future {{ stroke: {_FUTURE}; }} .swatch .bars {{ stroke: #fff9; stroke-width: 2.2; }}
.shot {{ margin: 1.3rem 0 2.2rem; }}
.shot > figcaption {{ margin-bottom: .5rem; }}
.panels {{ display: grid; grid-template-columns: 1.9fr 1fr 1fr; gap: .7rem 1rem; align-items: start; }}
.panels.tall {{ max-width: 42rem; }}
.panels figure {{ margin: 0; }} .panels .large {{ grid-row: span 2; }}
.panels figcaption {{ font-size: .82rem; line-height: 1.35; padding-top: .25rem; }}
.panels .plate {{ position: relative; border-radius: 4px; overflow: hidden; }}
.panels .plate::after {{
  content: ""; position: absolute; inset: 0; border: 1px solid var(--line); border-radius: 4px; pointer-events: none;
}}
.panels img {{ width: 100%; height: auto; display: block; }}
.panels .plate img + img {{ position: absolute; inset: 0; height: 100%; }}
.coarse {{ image-rendering: pixelated; }}
.switch {{ display: inline-flex; gap: .45rem; align-items: center; font-size: .92rem; cursor: pointer; }}
body:has(#plain:checked) .plate img + img {{ display: none; }}
@media (max-width: 760px) {{
  .panels {{ grid-template-columns: 1fr 1fr; }} .panels .large {{ grid-column: span 2; grid-row: auto; }}
  .key-card {{ padding: .9rem 1rem; }} .wheel {{ margin: 0 auto; }}
}}
@media print {{ .switch {{ display: none; }} .shot {{ break-inside: avoid; }} }}
"""


@dataclass(frozen=True, kw_only=True)
class FailedVideo:
    """A video that could not be drawn, and why."""

    video_id: str
    reason: str


def build_motion_page(
    title: str,
    *,
    sections: Sequence[str],
    failed: Sequence[FailedVideo],
    spec: DrawingSpec,
    facts: Sequence[str] = (),
    back: str = "",
) -> str:
    """Return the whole page; equal inputs give equal text.

    `sections` are those of `build_section`. `back` is the address of the report that the page belongs to, or nothing.
    """
    counted = f"{len(sections)} {'video' if len(sections) == 1 else 'videos'}"
    link = f'<nav><a href="{escape(back)}">Back to the report</a></nav>' if back else ""
    body = [
        f'<header><p class="eyebrow">MoCLIP-Lite</p><h1>{escape(title)}</h1>'
        f'<p class="muted">{f" {_DOT} ".join([counted, *map(escape, facts)])}</p>{link}</header>',
        _build_key(spec),
        *(_build_failed(failed) if failed else ()),
        *sections,
    ]
    return build_page(title, body=body, style=PICTURE_STYLE)


def build_section(drawing: VideoDrawing, *, spec: DrawingSpec, label: str = "") -> str:
    """Return the part of the page about one video; `label` (such as its class) is shown with its name."""
    side = f' <span class="muted">{escape(label)}</span>' if label else ""
    facts = f" {_DOT} ".join(_facts_of(drawing))
    shots = "".join(_build_shot(frame, spec=spec) for frame in drawing.frames)
    return f'<section><h2>{escape(drawing.video_id)}{side}</h2><p class="muted">{escape(facts)}</p>{shots}</section>'


def _facts_of(drawing: VideoDrawing) -> Iterator[str]:
    yield f"{drawing.codec_name}, {drawing.width_px}{_TIMES}{drawing.height_px} px"
    yield f"{drawing.num_frames:,} frames" + (
        f" at {drawing.frame_rate:.4g} a second" if math.isfinite(drawing.frame_rate) else ""
    )
    yield "vectors of the file" if drawing.source == "original" else f"vectors of a {drawing.source}"
    if drawing.rotation_degrees:
        how = "drawn upright" if drawing.is_upright else "drawn as coded"
        yield f"to be turned by {drawing.rotation_degrees}{_DEGREE}, {how}"


def _build_shot(frame: FrameDrawing, *, spec: DrawingSpec) -> str:
    time = f" {_DOT} {frame.time_seconds:.3f} s" if math.isfinite(frame.time_seconds) else ""
    kind = "keyframe" if frame.is_keyframe else "picture"
    share = frame.share_without_vector
    covered = f"{_percent(share)} of the cells have no vector" if share else "every cell has a vector"
    about = f"longest vector {frame.longest_px:.3g} px {_DOT} {covered}"
    name = f"frame {frame.frame_index}"
    panels = [
        _build_vectors(frame, name=name),
        _panel(frame.raw, alt=f"raw field of {name}", caption="<b>Raw field</b>, of this frame alone"),
        _panel(
            frame.accumulated,
            alt=f"accumulated field of {name}",
            caption=f"<b>Accumulated field</b>, {escape(frame.reference)}",
        ),
        _panel(frame.code_x, alt=f"pixel code of x, {name}", caption="<b>x</b>, as a network reads it"),
        _panel(frame.code_y, alt=f"pixel code of y, {name}", caption="<b>y</b>, as a network reads it"),
    ]
    shape = "panels tall" if frame.image.shape[0] > frame.image.shape[1] else "panels"
    return (
        f'<figure class="shot"><figcaption><b>Frame {frame.frame_index}</b> {_DOT} {escape(frame.picture_type)} {kind}'
        f'{time} {_DOT} {about}</figcaption><div class="{shape}">{"".join(panels)}</div></figure>'
    )


def _percent(share: float) -> str:
    # Two digits below one per cent, where whole ones would say that there is nothing.
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def _build_vectors(frame: FrameDrawing, *, name: str) -> str:
    height, width = frame.image.shape[:2]
    size = f'width="{width}" height="{height}"'
    return (
        f'<figure class="large"><div class="plate"><img {size} src="{jpeg_uri(frame.image)}" alt="{name}">'
        f'<img {size} src="{png_uri(frame.vectors)}" alt="block vectors of {name}"></div>'
        "<figcaption><b>Block vectors</b> over the decoded frame, at their true length</figcaption></figure>"
    )


def _panel(image: np.ndarray, *, alt: str, caption: str) -> str:
    height, width = image.shape[:2]
    style = ' class="coarse"' if width < _FINE_PX else ""
    return (
        f'<figure><div class="plate"><img width="{width}" height="{height}"{style} src="{png_uri(image)}" '
        f'alt="{alt}"></div><figcaption>{caption}</figcaption></figure>'
    )


def _build_failed(failed: Sequence[FailedVideo]) -> Iterator[str]:
    for video in failed:
        yield f'<p class="warn"><b>Not drawn:</b> {escape(video.reason)}</p>'


def _build_key(spec: DrawingSpec) -> str:
    camera = " The motion of the camera is taken off both fields." if spec.field.compensate_camera else ""
    stride = f" One sample every {spec.field.stride} px." if spec.field.stride > 1 else ""
    return (
        f'<section class="key-card" aria-label="Key">{_build_wheel(spec.max_px)}<div><ul>'
        f"<li>{_swatch('past')}past vector: from where the block was to where it is</li>"
        f"<li>{_swatch('future')}future vector, in B-frames: to where it will be</li>"
        f"<li>{_swatch('still')}zero vector: the block stands still</li>"
        f"<li>{_swatch('bars')}no vector: coded anew, or not covered</li></ul>"
        '<label class="switch"><input type="checkbox" id="plain">Hide the vectors</label></div><div class="note">'
        "<p><b>Colours.</b> The hue is the direction of the motion, the depth the square root of its length. Raw and "
        f"accumulated fields share one scale: {spec.max_px:g} px and more have the full colour. White is no motion, or "
        f"no vector; B-frames count with their past vectors.{camera}{stride}</p><p><b>Grey.</b> The pixel code of the "
        f"{spec.coded} field, 8 bits, before it is cropped and resized. Mid grey is no motion; white is "
        f"{spec.max_px:g} px right (x) or down (y), black as far left or up.</p>"
        "</div></section>"
    )


def _swatch(kind: str) -> str:
    bars = "".join(f"M{x} 32 {x + 30} 2" for x in range(-24, 60, 11))
    drawn = {
        "past": '<path class="past" d="M10 20 46 10M39 8 46 10 41 15"/>',
        "future": '<path class="future" d="M10 20 46 10M39 8 46 10 41 15"/>',
        "still": '<circle class="past" cx="29" cy="15" r="1"/>',
        "bars": f'<path class="bars" d="{bars}"/>',
    }
    return f'<svg class="swatch" viewBox="0 0 58 30" aria-hidden="true">{drawn[kind]}</svg>'


def _build_wheel(max_px: float) -> str:
    room, radius = _WHEEL_ROOM_PX, _WHEEL_PX / 2
    middle = room + radius
    # On the root scale a quarter of the length is at half of the radius.
    rings = "".join(f'<circle cx="{middle}" cy="{middle}" r="{radius * share}"/>' for share in (0.25, 0.5, 1))
    on = "".join(
        f'<text class="on" x="{middle}" y="{middle - radius * share - 5}" text-anchor="middle">{max_px * share**2:.3g}'
        f"</text>"
        for share in (0.25, 0.5)
    )
    rim = f'<text x="{middle + 0.71 * radius + 6:.0f}" y="{middle - 0.71 * radius - 6:.0f}">{max_px:g} px</text>'
    words = (
        (middle, room - 12, "up", "middle"),
        (middle, 2 * middle - room + 26, "down", "middle"),
        (room - 9, middle + 7, "left", "end"),
        (2 * middle - room + 9, middle + 7, "right", "start"),
    )
    sides = "".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{word}</text>' for x, y, word, anchor in words)
    wheel = png_uri(draw_wheel(size_px=_WHEEL_PX, max_px=max_px))
    return (
        f'<svg class="wheel" viewBox="0 0 {2 * middle} {2 * middle}" role="img" '
        f'aria-label="Wheel of colours: hue is direction, depth is length up to {max_px:g} px">'
        f'<image x="{room}" y="{room}" width="{_WHEEL_PX}" height="{_WHEEL_PX}" href="{wheel}"/>{rings}{on}{rim}{sides}'
        "</svg>"
    )
