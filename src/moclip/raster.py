"""Smooth lines and stripes as coverage of pixels. Pure numpy.

Places are in px from the upper left corner of the picture, right and down: the middle of the first pixel is (0.5, 0.5).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Pixels looked at in one go, some tens of bytes each.
_MAX_PIXELS = 1 << 20


def cover_lines(
    starts: NDArray[np.floating], stops: NDArray[np.floating], *, radius_px: float, height: int, width: int
) -> Floats:
    """Return (height, width) float32 from 0 to 1: how much of each pixel lies under a line with round ends.

    Args:
        starts: (N, 2) where each line starts, px, x then y; a line that stops where it starts is a dot.
        stops: (N, 2) where it stops.
        radius_px: Half of the width of every line.
        height: Height of the picture.
        width: Width of the picture; what lies outside is cut off.
    """
    cover = np.zeros((height, width), np.float32)
    # Lines of long extent come with more pixels: as many lines at a time as there is room for.
    extent = np.abs(np.asarray(stops, np.float32) - starts).max(axis=1, initial=0) + 2 * radius_px + 4
    pixels = np.cumsum(extent * (2 * _reach(radius_px) + 1))
    part = (pixels // _MAX_PIXELS).astype(np.intp)
    for number in np.unique(part):
        chosen = part == number
        _cover_some(cover, np.asarray(starts)[chosen] - 0.5, np.asarray(stops)[chosen] - 0.5, radius_px=radius_px)
    return cover


def _reach(radius_px: float) -> int:
    # Pixels to look at on each side along the minor axis; a line of 45 degrees is 1.42 times as high as it is thick.
    return int(np.ceil(1.42 * radius_px + 1))


def _cover_some(cover: Floats, starts: NDArray[np.floating], stops: NDArray[np.floating], *, radius_px: float) -> None:
    # Walk each line along its longer axis, and look at the pixels around it on the other.
    along = (np.abs(stops - starts)[:, 1] > np.abs(stops - starts)[:, 0]).astype(np.intp)
    each = np.arange(len(starts))
    start, stop = starts[each, along], stops[each, along]
    across, change = starts[each, 1 - along], (stops - starts)[each, 1 - along]
    first = np.floor(np.minimum(start, stop) - radius_px - 1).astype(np.intp)
    number = np.ceil(np.maximum(start, stop) + radius_px + 1).astype(np.intp) - first + 1
    line = np.repeat(each, number)
    major = first[line] + np.arange(len(line)) - np.repeat(np.cumsum(number) - number, number)
    length = (stop - start)[line]
    share = np.clip((major - start[line]) / np.where(length == 0, 1, length), 0, 1)
    middle = np.round(across[line] + share * change[line]).astype(np.intp)
    minor = middle[:, None] + np.arange(-_reach(radius_px), _reach(radius_px) + 1)
    far, off = (major - start[line])[:, None], minor - across[line][:, None]
    square = np.maximum(length**2 + change[line] ** 2, 1e-12)[:, None]
    foot = np.clip((far * length[:, None] + off * change[line][:, None]) / square, 0, 1)
    distance = np.hypot(far - foot * length[:, None], off - foot * change[line][:, None])
    value = np.clip(radius_px + 0.5 - distance, 0, 1).astype(np.float32)
    is_steep = along[line][:, None] == 1
    x, y = np.where(is_steep, minor, major[:, None]), np.where(is_steep, major[:, None], minor)
    height, width = cover.shape
    inside = (value > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    np.maximum.at(cover.reshape(-1), (y * width + x)[inside], value[inside])


def cover_stripes(*, height: int, width: int, period_px: float) -> Floats:
    """Return (height, width) float32 from 0 to 1: stripes that rise to the right, a third of each period covered."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    # Distance to the nearest middle of a stripe, across the stripe.
    place = (x + y) / np.float32(np.sqrt(2) * period_px)
    distance = np.abs(place - np.round(place)) * np.float32(period_px)
    return np.asarray(np.clip(np.float32(period_px / 6 + 0.5) - distance, 0, 1), np.float32)


def empty_layer(*, height: int, width: int) -> Floats:
    """Return a clear layer: (height, width, 4) float32, colours times alpha from 0 to 255, and alpha from 0 to 1."""
    return np.zeros((height, width, 4), np.float32)


def blend(layer: Floats, *, colour: tuple[int, int, int], cover: Floats) -> None:
    """Lay a colour over a layer, in place, as far as the (height, width) `cover` says."""
    at = np.flatnonzero(cover)
    flat = layer.reshape(-1, 4)
    below = flat[at]
    flat[at] = below + (np.array([*colour, 1], np.float32) - below) * cover.reshape(-1)[at, None]


def as_rgba(layer: Floats) -> NDArray[np.uint8]:
    """Return a layer as a (height, width, 4) uint8 picture of its own, its colours no longer times alpha."""
    alpha = layer[..., 3:]
    colours = layer[..., :3] / np.where(alpha > 0, alpha, 1)
    return np.round(np.concatenate([colours, 255 * alpha], axis=-1)).astype(np.uint8)


def lay_over(image: NDArray[np.uint8], *, rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a (height, width, 3) uint8 picture with another one, RGBA and of the same size, laid over it."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(image + (rgba[..., :3].astype(np.float32) - image) * alpha).astype(np.uint8)
