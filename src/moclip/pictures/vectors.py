"""Motion as pictures: block vectors drawn over a frame, fields as colors, codes in gray."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from moclip.motion.fields import pixel_code
from moclip.motion.vectors import CELL_PX, NO_VECTOR, MotionVectors

Image = NDArray[np.uint8]

Floats = NDArray[np.float32]

Colour = tuple[int, int, int]

PAST_COLOUR: Colour = (255, 209, 64)

FUTURE_COLOUR: Colour = (64, 210, 255)

STRIPE_COLOUR: Colour = (255, 255, 255)

_CASING_COLOUR: Colour = (16, 18, 22)

# Of the drawn picture, in px.
_LINE_PX, _CASING_PX, _DOT_PX = 2.1, 2.4, 2.0

_DOT_COVER, _CASING_COVER = 0.75, 0.55

_HEAD_PX, _HEAD_DEGREES = 8.0, 28.0

_SHAFT_AND_HEAD = (Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO)

_STRIPE_PERIOD_PX = 9.0

# The wheel: the hue of "right" in degrees of the OKLCH colour space, lightness from no motion to most, chroma at most.
_RIGHT_HUE_DEGREES = 25.0

_LIGHTNESS = (1.0, 0.63)

_CHROMA = 0.16

# OKLab to linear sRGB. Source: B. Ottosson, "A perceptual color space for image processing", 2020.
_OKLAB_TO_CUBE_ROOTS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)

_CUBES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True, kw_only=True)
class BlockVectors:
    """The blocks of one frame that have a vector into one direction of time.

    Attributes:
        centre_px: (N, 2) float32, px, x then y: the middle of the block's part inside the picture.
        motion_px: (N, 2) float32, px: the visible motion between the two frames, right and down positive.
    """

    centre_px: Floats
    motion_px: Floats


def list_blocks(cells: NDArray[np.int16], *, motion: MotionVectors, is_future: bool) -> BlockVectors:
    """Return the vectors of (Hb, Wb, 2) int16 cells, as one a block: equal cells of a macroblock count as one block.

    The visible motion is minus FFmpeg's vector where that points into the past, and the vector itself where it points
    into the future: either way what goes right is positive.
    """
    rows, columns = cells.shape[0] // 2, cells.shape[1] // 2
    packed = np.ascontiguousarray(cells).view(np.int32)[..., 0]
    corner = packed.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3)
    (upper_left, upper_right), (lower_left, lower_right) = np.moveaxis(corner, (2, 3), (0, 1))
    in_rows = (upper_left == upper_right) & (lower_left == lower_right)
    in_columns = (upper_left == lower_left) & (upper_right == lower_right)
    whole = in_rows & in_columns
    shapes = ((16, 16, whole), (16, 8, in_rows & ~whole), (8, 16, in_columns & ~whole), (8, 8, ~in_rows & ~in_columns))
    centres, vectors = [], []
    for width, height, is_such in shapes:
        for y in range(0, 16, height):
            for x in range(0, 16, width):
                row, column = np.nonzero(is_such)
                box = [(16 * column + x, width, motion.width_px), (16 * row + y, height, motion.height_px)]
                centres.append(np.stack([(low + np.minimum(low + size, end)) / 2 for low, size, end in box], axis=-1))
                vectors.append(cells[2 * row + y // CELL_PX, 2 * column + x // CELL_PX])
    centre, vector = np.concatenate(centres).astype(np.float32), np.concatenate(vectors)
    inside = (vector != NO_VECTOR).any(axis=1) & (centre < (motion.width_px, motion.height_px)).all(axis=1)
    unit = np.float32((1 if is_future else -1) / motion.motion_scale)
    return BlockVectors(centre_px=centre[inside], motion_px=vector[inside] * unit)


def cells_of_frame(motion: MotionVectors, frame_index: int, *, is_future: bool) -> NDArray[np.int16]:
    """Return the (Hb, Wb, 2) int16 vectors of a frame into one direction of time, `NO_VECTOR` everywhere if none."""
    fields, frames = (motion.future, motion.future_frame_index) if is_future else (motion.past, motion.past_frame_index)
    row = np.flatnonzero(frames == frame_index)
    return fields[row[0]] if len(row) else np.full(fields.shape[1:], NO_VECTOR, np.int16)


def cells_without_vector(motion: MotionVectors, frame_index: int) -> NDArray[np.bool_]:
    """Return (Hb, Wb) bool: the cells of a frame that no vector covers, neither past nor future; intra ones mostly."""
    both = [cells_of_frame(motion, frame_index, is_future=is_future) for is_future in (False, True)]
    return np.asarray((np.stack(both) == NO_VECTOR).all(axis=(0, -1)))


def draw_vectors(motion: MotionVectors, *, frame_index: int, width_px: int, height_px: int) -> Image:
    """Return the block vectors of a frame as a layer over its picture: (height_px, width_px, 4) uint8 RGBA.

    The layer is that of the frame as coded, before rotation, at any size; arrows are as long as the motion is there.
    An arrow of a past vector ends at its block and starts where the block's content was; one of a future vector starts
    at its block and ends where the content will be. A dot is a block that stands still; stripes: no vector.
    """
    scale = np.array([width_px / motion.width_px, height_px / motion.height_px], np.float32)
    drawing = Drawing(figsize=(width_px / 72, height_px / 72), dpi=72, frameon=False)  # a point is a pixel
    drawing.figimage(
        _draw_stripes(cells_without_vector(motion, frame_index), height=height_px, width=width_px, scale=scale)
    )
    for is_future, colour in ((True, FUTURE_COLOUR), (False, PAST_COLOUR)):
        cells = cells_of_frame(motion, frame_index, is_future=is_future)
        blocks = list_blocks(cells, motion=motion, is_future=is_future)
        centre, length = blocks.centre_px * scale, blocks.motion_px * scale
        tails, tips = (centre, centre + length) if is_future else (centre - length, centre)
        _draw_arrows(drawing, tails, tips, colour=colour)
    canvas: Any = FigureCanvasAgg(drawing)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _draw_stripes(empty: NDArray[np.bool_], *, height: int, width: int, scale: Floats) -> Image:
    # Stripes that rise to the right, a third of each period wide, over a shade, in the cells without a vector.
    rows, columns = (
        ((np.arange(size) + 0.5) / (factor * CELL_PX)).astype(np.intp)
        for size, factor in zip((height, width), scale[::-1], strict=True)
    )
    y, x = np.mgrid[:height, :width]
    is_stripe = (x + y) / np.sqrt(2) % _STRIPE_PERIOD_PX < _STRIPE_PERIOD_PX / 3
    layer = np.where(is_stripe[..., None], (*STRIPE_COLOUR, 180), (*_CASING_COLOUR, 90))
    return np.asarray(layer * empty[rows][:, columns, None], np.uint8)


def _draw_arrows(drawing: Drawing, tails: Floats, tips: Floats, *, colour: Colour) -> None:
    ink, casing = ([part / 255 for part in color] for color in (colour, _CASING_COLOUR))
    upside_down = Affine2D().scale(1, -1).translate(0, drawing.bbox.height)
    still = (tails == tips).all(axis=1)
    dots: dict[str, Any] = {
        "marker": "o",
        "markersize": _DOT_PX,
        "markeredgewidth": 0,
        "color": ink,
        "alpha": _DOT_COVER,
    }
    drawing.add_artist(Line2D(*tails[still].T, linestyle="", transform=upside_down, **dots))
    arrows = _list_arrows(tails[~still], tips[~still])
    for width, color in ((_LINE_PX + _CASING_PX, [*casing, _CASING_COVER]), (_LINE_PX, [*ink, 1])):
        style: dict[str, Any] = {"linewidths": width, "edgecolors": [color], "facecolors": "none", "snap": False}
        round_ends: dict[str, Any] = {"capstyle": "round", "joinstyle": "round"}
        drawing.add_artist(PathCollection(arrows, transform=upside_down, **style, **round_ends))


def _list_arrows(tails: Floats, tips: Floats) -> list[Path]:
    # Each as one path, so that its shade is laid once where shaft and head meet.
    back = tails - tips
    back *= np.minimum(0.45, _HEAD_PX / np.linalg.norm(back, axis=1, keepdims=True))
    cos, sin = np.cos(np.radians(_HEAD_DEGREES)), np.sin(np.radians(_HEAD_DEGREES))
    turn = np.array([[cos, sin], [-sin, cos]], np.float32)
    corners = np.stack([tails, tips, tips + back @ turn, tips, tips + back @ turn.T], axis=1)
    return [Path(points, _SHAFT_AND_HEAD) for points in corners]


def colour_field(field: Floats, *, max_px: float) -> Image:
    """Return (h, w, 3) uint8 RGB of a (h, w, 2) field in px: hue by direction, depth by the root of the length.

    `max_px` and all that is longer has the full colour; a quarter of it half, a sixteenth a quarter.
    """
    depth = np.sqrt(np.minimum(np.hypot(field[..., 0], field[..., 1]) / max_px, 1))
    hue = np.arctan2(field[..., 1], field[..., 0]) + np.radians(_RIGHT_HUE_DEGREES)
    lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * depth
    chroma = _CHROMA * depth
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((lab @ _OKLAB_TO_CUBE_ROOTS.T) ** 3 @ _CUBES_TO_RGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * encoded), np.uint8)


def draw_wheel(*, size_px: int, max_px: float) -> Image:
    """Return (size, size, 4) uint8 RGBA, a disc: at each place the colour of the motion from the middle to there.

    Its rim is `max_px`, half of its radius a quarter of that: the root scale of `colour_field`. Clear outside.
    """
    place = (np.arange(size_px, dtype=np.float32) + 0.5) * (2 / size_px) - 1
    x, y = np.meshgrid(place, place)
    radius = np.hypot(x, y)
    field = np.stack([x, y], axis=-1) * (radius * max_px)[..., None]
    rim = np.clip((1 - radius) * (size_px / 2) + 0.5, 0, 1)
    return np.concatenate([colour_field(field, max_px=max_px), np.round(255 * rim)[..., None].astype(np.uint8)], -1)


def draw_code(field: Floats, *, max_px: float) -> tuple[Image, Image]:
    """Return two (h, w) uint8 grey pictures, x and y: the pixel code of a field, 128 where nothing moves."""
    code = pixel_code(field, max_px=max_px)
    return code[..., 0], code[..., 1]


def lay_over(image: NDArray[np.uint8], *, rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a (height, width, 3) uint8 picture with another one, RGBA and of the same size, laid over it."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(image + (rgba[..., :3].astype(np.float32) - image) * alpha).astype(np.uint8)
