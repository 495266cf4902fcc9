"""Draw the method in one picture, for a light and for a dark page: docs/figures/method-{light,dark}.svg.

    python tools/draw_method.py

Colors are those of the report, from its style sheet.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs/figures"
STYLE_SHEET = REPOSITORY / "src/moclip/report/templates/page.css"

WIDTH, HEIGHT = 720, 712
LEFT, RIGHT = 15, 375
LANE = 330
MIDDLE = WIDTH // 2
ROWS = (112, 216, 310, 404)
BOX, CACHE = 66, 76
DESCRIPTION = (
    "A compressed video has two streams. The motion vectors of its codec become motion fields, and a frozen motion "
    "network embeds them in 1280 values. A frozen CLIP image encoder embeds one frame in 512 values. Vectors and "
    "embeddings are cached for each video. An MLP head of 0.97 million parameters reads both embeddings and returns "
    "the class."
)


def read_palettes() -> dict[str, dict[str, str]]:
    """Return the colors of the style sheet by name, of the light and of the dark page."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE_SHEET.read_text(encoding="utf-8"), re.DOTALL)[:2]
    return {name: dict(re.findall(r"--(\w+): (#\w+);", part)) for name, part in (("light", light), ("dark", dark))}


def draw_method(palette: Mapping[str, str]) -> str:
    """Return the picture as SVG in the colors of a palette."""
    parts = [*draw_video(), *draw_motion(), *draw_appearance(), *draw_head()]
    return "\n".join([*open_picture(palette), *parts, "</svg>", ""])


def open_picture(palette: Mapping[str, str]) -> list[str]:
    """Return the opening tag, the description and the styles."""
    ink, muted, line, card = (palette[name] for name in ("ink", "muted", "line", "card"))
    streams = [f".{name} {{ color: {palette[name]}; }}" for name in ("motion", "appearance", "fusion")]
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-labelledby="title description">',
        '<title id="title">MoCLIP-Lite, from a compressed video to a class</title>',
        f'<desc id="description">{DESCRIPTION}</desc>',
        "<style>",
        'text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }',
        f".name {{ font-size: 18px; font-weight: 600; fill: {ink}; }} .note {{ font-size: 14px; fill: {muted}; }}",
        f".middle {{ text-anchor: middle; }} .shape {{ fill: {card}; stroke: currentColor; stroke-width: 1.6; }}",
        f".gray {{ color: {muted}; }} .rule {{ stroke: {line}; stroke-width: 2; stroke-dasharray: 6 6; }}",
        *streams,
        ".line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }",
        ".full { fill: currentColor; } .faint { fill: currentColor; opacity: .18; }",
        f".letter {{ font-size: 15px; font-weight: 600; fill: {ink}; text-anchor: middle; }}",
        "</style>",
    ]


def draw_video() -> list[str]:
    """Return the compressed video: a row of pictures of one group, the first a keyframe."""
    parts = [write("compressed video", MIDDLE, 24, style="name middle")]
    for number, letter in enumerate("IPPPPPIPPPPP"):
        left = MIDDLE - 12 * 19 + number * 38
        stream = "appearance" if letter == "I" else "motion"
        parts += [
            f'<g class="{stream}"><rect class="shape" x="{left + 2}" y="38" width="34" height="34" rx="4"/>',
            f'<rect class="faint" x="{left + 2}" y="38" width="34" height="34" rx="4"/></g>',
            write(letter, left + 19, 60.5, style="letter"),
        ]
    return [*parts, *arrow(LEFT + LANE // 2, 80, ROWS[0]), *arrow(RIGHT + LANE // 2, 80, ROWS[0], stream="appearance")]


def draw_motion() -> list[str]:
    """Return the lane of motion: vectors, fields, network, embedding."""
    center = LEFT + LANE // 2
    return [
        '<g class="motion">',
        *cylinder(LEFT, ROWS[0], icon=draw_vectors()),
        *box(LEFT, ROWS[1], icon=draw_field()),
        *box(LEFT, ROWS[2], icon=draw_network()),
        *cylinder(LEFT, ROWS[3], icon=draw_bars(1280)),
        "</g>",
        *label(LEFT, ROWS[0] + 8, name="motion vectors", note="computed by the codec, cached"),
        *label(LEFT, ROWS[1], name="motion fields", note="raw or accumulated, in pixels"),
        *label(LEFT, ROWS[2], name="motion network", note="EfficientNet-B0, frozen"),
        *label(LEFT, ROWS[3] + 8, name="1280 values", note="a cached row for each video"),
        *arrow(center, ROWS[0] + CACHE, ROWS[1]),
        *arrow(center, ROWS[1] + BOX, ROWS[2]),
        *arrow(center, ROWS[2] + BOX, ROWS[3]),
    ]


def draw_appearance() -> list[str]:
    """Return the lane of appearance: frame, encoder, embedding."""
    center = RIGHT + LANE // 2
    tall = ROWS[1] + BOX - ROWS[0]
    return [
        '<g class="appearance">',
        f'<rect class="shape" x="{RIGHT}" y="{ROWS[0]}" width="{LANE}" height="{tall}" rx="10"/>',
        *draw_frame(RIGHT + 12, ROWS[0] + 27),
        *box(RIGHT, ROWS[2], icon=draw_network()),
        *cylinder(RIGHT, ROWS[3], icon=draw_bars(512)),
        "</g>",
        write("one frame", RIGHT + 174, ROWS[0] + 76, style="name"),
        write("decoded and resized", RIGHT + 174, ROWS[0] + 98, style="note"),
        *label(RIGHT, ROWS[2], name="CLIP image encoder", note="ViT-B/32, frozen"),
        *label(RIGHT, ROWS[3] + 8, name="512 values", note="a cached row for each video"),
        *arrow(center, ROWS[1] + BOX, ROWS[2], stream="appearance"),
        *arrow(center, ROWS[2] + BOX, ROWS[3], stream="appearance"),
    ]


def draw_head() -> list[str]:
    """Return the line below the caches, the head that reads both embeddings, and the class."""
    rule, head, end = 516, 556, 656
    left = MIDDLE - LANE // 2
    return [
        f'<line class="rule" x1="{LEFT}" y1="{rule}" x2="{RIGHT + LANE}" y2="{rule}"/>',
        *elbow(LEFT + LANE // 3, ROWS[3] + CACHE, left, head + BOX // 2),
        *elbow(RIGHT + LANE - LANE // 3, ROWS[3] + CACHE, left + LANE, head + BOX // 2, stream="appearance"),
        write("computed once, then read from the cache", MIDDLE, rule - 10, style="note middle"),
        write("trained in each experiment", MIDDLE, rule + 22, style="note middle"),
        '<g class="fusion">',
        *box(left, head, icon=draw_network()),
        f'<rect class="shape" x="{MIDDLE - 75}" y="{end}" width="150" height="42" rx="21"/>',
        "</g>",
        *label(left, head, name="MLP head", note="0.97 M parameters, 101 classes"),
        *arrow(MIDDLE, head + BOX, end, stream="fusion"),
        write("class", MIDDLE, end + 27, style="name middle"),
    ]


def write(text: str, left: float, base: float, *, style: str) -> str:
    """Return a line of text."""
    return f'<text class="{style}" x="{left:g}" y="{base:g}">{text}</text>'


def label(left: int, top: int, *, name: str, note: str) -> list[str]:
    """Return the name and the note of a box."""
    return [write(name, left + 92, top + 29, style="name"), write(note, left + 92, top + 51, style="note")]


def box(left: int, top: int, *, icon: str) -> list[str]:
    """Return a box of a lane with an icon at its left."""
    frame = f'<rect class="shape" x="{left}" y="{top}" width="{LANE}" height="{BOX}" rx="10"/>'
    return [frame, place(icon, left, top)]


def cylinder(left: int, top: int, *, icon: str) -> list[str]:
    """Return a cache: a cylinder that is as wide as a box."""
    radius, right, low, high = LANE / 2, left + LANE, top + CACHE - 8, top + 8
    side = f"M{left} {high}V{low}A{radius:g} 8 0 0 0 {right} {low}V{high}"
    return [
        f'<path class="shape" d="{side}A{radius:g} 8 0 0 0 {left} {high}Z"/>',
        f'<path class="shape" d="M{left} {high}A{radius:g} 8 0 0 1 {right} {high}A{radius:g} 8 0 0 1 {left} {high}Z"/>',
        place(icon, left, top + 8),
    ]


def place(icon: str, left: int, top: int) -> str:
    """Return an icon of 56 x 46 units at its place in a box."""
    return f'<g transform="translate({left + 18} {top + 10})">{icon}</g>'


def arrow(center: int, top: int, bottom: int, *, stream: str = "motion") -> list[str]:
    """Return an arrow that points down."""
    tip = bottom - 5
    return [f'<path class="line {stream}" d="M{center} {top + 5}V{tip}m-5 -6l5 6l5 -6"/>']


def elbow(left: int, top: int, right: int, bottom: int, *, stream: str = "motion") -> list[str]:
    """Return an arrow that points down and then to the side of the head."""
    side = 1 if right > left else -1
    turn = f"V{bottom - 12}q0 12 {12 * side} 12H{right - 5 * side}"
    return [f'<path class="line {stream}" d="M{left} {top + 5}{turn}m{-6 * side} -5l{6 * side} 5l{-6 * side} 5"/>']


def draw_vectors() -> str:
    """Return arrows of blocks that move to the right and up."""
    lengths = ((0, 0, 6, 0), (0, 11, 13, 5), (0, 12, 14, 6))
    arrows = [
        f"M{7 + 15 * column} {40 - 15 * (2 - row)}l{length} {-length * 0.6:g}"
        for row, cells in enumerate(lengths)
        for column, length in enumerate(cells)
        if length
    ]
    dots = [
        f'<circle class="full" cx="{7 + 15 * column}" cy="{10 + 15 * row}" r="2"/>'
        for row in range(3)
        for column in range(4)
    ]
    return f'{"".join(dots)}<path class="line" d="{"".join(arrows)}"/>'


def draw_field() -> str:
    """Return a field as cells, darker where the motion is larger."""
    strengths = ((0.1, 0.15, 0.2, 0.12), (0.12, 0.6, 0.75, 0.3), (0.12, 0.75, 0.95, 0.4))
    return "".join(
        f'<rect class="full" x="{14 * column}" y="{1 + 15 * row}" width="13" height="14" opacity="{strength}"/>'
        for row, cells in enumerate(strengths)
        for column, strength in enumerate(cells)
    )


def draw_network() -> str:
    """Return the layers of a network."""
    layers = ((4, (4, 17, 30, 43)), (28, (10, 24, 38)), (52, (17, 31)))
    edges = [
        f"M{left} {start}L{right} {end}"
        for (left, starts), (right, ends) in pairwise(layers)
        for start in starts
        for end in ends
    ]
    nodes = "".join(f'<circle class="full" cx="{left}" cy="{y}" r="4"/>' for left, heights in layers for y in heights)
    return f'<path class="line" style="stroke-width: .7; opacity: .6" d="{"".join(edges)}"/>{nodes}'


def draw_bars(values: int) -> str:
    """Return an embedding as bars, more of them for more values."""
    count = 12 if values > 1000 else 7
    heights = [10 + 32 * (number * 37 % 11) / 10 for number in range(count)]
    return "".join(
        f'<rect class="full" x="{4 * number}" y="{46 - height:g}" width="3" height="{height:g}"/>'
        for number, height in enumerate(heights)
    )


def draw_frame(left: int, top: int) -> list[str]:
    """Return a frame: a star on a disk in front of hills, as in the videos of the demo."""
    star = "M74 30l8 17 19 2-14 13 4 19-17-9-17 9 4-19-14-13 19-2z"
    return [
        f'<g transform="translate({left} {top})"><rect class="faint" width="148" height="116" rx="6"/>',
        '<path class="faint" d="M0 92l34-30 26 22 40-38 48 40v24a6 6 0 0 1-6 6H6a6 6 0 0 1-6-6z"/>',
        f'<circle class="shape" cx="74" cy="57" r="38"/><path class="full" d="{star}"/></g>',
    ]


def draw_all() -> dict[str, str]:
    """Return the pictures by the names of their files."""
    return {f"method-{name}.svg": draw_method(palette) for name, palette in read_palettes().items()}


if __name__ == "__main__":
    for file, picture in draw_all().items():
        (FOLDER / file).write_text(picture, encoding="utf-8")
