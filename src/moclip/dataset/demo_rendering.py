"""Render pictures of a badge in front of a shaky background.

The badge carries one of four emblems of equal outline, so the motion field does not show the emblem. Each of the four
motions drives one coordinate of the same pose (across, along, size, angle) and leaves the others as drawn. A driven
coordinate runs at a constant pace through its whole cycle from a uniform start, so the distribution of poses in any
frame is the same for all motions and no single picture shows the motion.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

Picture = NDArray[np.uint8]

WIDTH_PX, HEIGHT_PX = 160, 120

MARGIN_PX = 10  # how far the camera may stray

TEXTURE_PX = 48  # side of a badge's own picture, near its size on screen

OBJECTS = ("Cross", "Moon", "Square", "Star")

MOTIONS = ("Bouncing", "Pulsing", "Sliding", "Spinning")

DRIVEN = {"Sliding": "across", "Bouncing": "along", "Pulsing": "size", "Spinning": "angle"}

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 45, 45),
    "orange": (235, 140, 40),
    "yellow": (235, 215, 70),
    "green": (60, 160, 70),
    "blue": (50, 85, 205),
    "purple": (130, 60, 165),
    "pink": (240, 150, 190),
    "brown": (115, 75, 45),
    "grey": (130, 130, 130),
    "white": (232, 232, 232),
    "black": (30, 30, 30),
}

LIGHTNESS_GAP = 75.0  # of 255, between an emblem and its badge

SWING_PX = 27.0  # from the middle of a slide or a bounce to its end

WANDER_PX = 16.0  # how far a badge's home may be from the picture's middle, sideways

RADIUS_PX = (16.0, 28.0)

# Cycles a frame, at least and at most: 2.0-2.8 px, 3.9-5.5 % of the size, 7-10 degrees a frame.
PACE = {"across": (0.018, 0.025), "along": (0.018, 0.025), "size": (0.033, 0.046), "angle": (0.020, 0.028)}


@dataclass(frozen=True, kw_only=True)
class Theme:
    """A place: its picture, wider than a frame by the margin on each side, its colour's name, its camera's temper."""

    canvas: Floats
    colour: str
    shake_px: float


@dataclass(frozen=True, kw_only=True)
class Badge:
    """A round badge: its square picture (side, side, 3), what emblem it carries, and both colours' names."""

    texture: Floats
    object_name: str
    emblem_colour: str
    badge_colour: str


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Where a badge is in each of T frames, before the camera: centre and radius in px (right, down), angle in rad."""

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    radius_px: NDArray[np.float64]
    angle: NDArray[np.float64]


def class_name_of(object_name: str, *, motion: str) -> str:
    """Return the class of an object under a motion: `StarBouncing`."""
    return f"{object_name}{motion}"


def build_theme(rng: np.random.Generator) -> Theme:
    """Return a random place: one colour in many shades, over it a few bars and triangles that stand still."""
    height, width = HEIGHT_PX + 2 * MARGIN_PX, WIDTH_PX + 2 * MARGIN_PX
    colour = _choose_colour(rng)
    shades = 45 * _noise(rng, height=height, width=width, cell_px=float(rng.uniform(20, 45)))
    grain = 30 * _noise(rng, height=height, width=width, cell_px=float(rng.uniform(3, 6)))
    canvas = _shade(rng, colour=colour) + (shades + grain)[..., None]
    for _ in range(int(rng.integers(3, 7))):
        colouring = _shade(rng, colour=_choose_colour(rng)) + grain[..., None]
        canvas += _distractor(rng, height=height, width=width)[..., None] * (colouring - canvas)
    return Theme(canvas=np.clip(canvas, 0, 255), colour=colour, shake_px=float(rng.uniform(2.0, 4.5)))


def build_badge(rng: np.random.Generator, *, object_name: str) -> Badge:
    """Return a badge with this emblem in random, well-told-apart colours and a random grain.

    Raises:
        ValueError: `object_name` is none of `OBJECTS`.
    """
    if object_name not in OBJECTS:
        raise ValueError(f"object_name: expected one of {OBJECTS}, got {object_name!r}")
    badge_colour = _choose_colour(rng)
    gaps = {name: abs(_lightness(name) - _lightness(badge_colour)) for name in COLOURS}
    emblem_colour = str(rng.choice([name for name in COLOURS if gaps[name] >= LIGHTNESS_GAP]))
    axis = (np.arange(TEXTURE_PX, dtype=np.float32) + 0.5) * (2 / TEXTURE_PX) - 1
    x, y = np.meshgrid(axis, axis)
    inside = np.clip(0.5 - _distance(object_name, x=x, y=y) * (TEXTURE_PX / 2), 0, 1)[..., None]
    ground, figure = _shade(rng, colour=badge_colour), _shade(rng, colour=emblem_colour)
    grain = _noise(rng, height=TEXTURE_PX, width=TEXTURE_PX, cell_px=5) * 28
    texture = ground + (figure - ground) * inside + grain[..., None]
    return Badge(
        texture=np.clip(texture, 0, 255).astype(np.float32),
        object_name=object_name,
        emblem_colour=emblem_colour,
        badge_colour=badge_colour,
    )


def build_poses(rng: np.random.Generator, *, motion: str, num_frames: int) -> Poses:
    """Return the poses of a motion in T frames: one coordinate runs, the others rest where the same draw put them.

    Raises:
        ValueError: `motion` is none of `MOTIONS`.
    """
    if motion not in DRIVEN:
        raise ValueError(f"motion: expected one of {MOTIONS}, got {motion!r}")
    home_px = WIDTH_PX / 2 + rng.uniform(-WANDER_PX, WANDER_PX)
    cycles = {}
    for coordinate, (slowest, fastest) in PACE.items():
        start, pace = rng.random(), rng.uniform(slowest, fastest) * rng.choice([-1, 1])
        cycles[coordinate] = start + pace * np.arange(num_frames) * (coordinate == DRIVEN[motion])
    middle, half = np.log(RADIUS_PX).mean(), np.ptp(np.log(RADIUS_PX)) / 2
    return Poses(
        x_px=home_px + SWING_PX * _there_and_back(cycles["across"]),
        y_px=HEIGHT_PX / 2 + SWING_PX * _there_and_back(cycles["along"]),
        radius_px=np.exp(middle + half * _there_and_back(cycles["size"])),
        angle=2 * np.pi * cycles["angle"],
    )


def build_camera(rng: np.random.Generator, *, num_frames: int, shake_px: float) -> NDArray[np.float64]:
    """Return the shift of the whole picture in each frame, shape (T, 2), float64, px, right and down: a slow sway."""
    time = np.arange(num_frames)[:, None]
    period = rng.uniform((24, 24), (48, 48))
    sway = np.sin(2 * np.pi * (time / period + rng.random(2)))
    tremor = np.sin(2 * np.pi * (time / rng.uniform((9, 9), (16, 16)) + rng.random(2)))
    return shake_px * (0.85 * sway + 0.15 * tremor)


def render_video(
    rng: np.random.Generator, *, theme: Theme, badge: Badge, motion: str, num_frames: int
) -> Iterator[Picture]:
    """Yield T frames, each (120, 160, 3) uint8 RGB, of a badge moving this way in this place."""
    poses = build_poses(rng, motion=motion, num_frames=num_frames)
    camera = build_camera(rng, num_frames=num_frames, shake_px=theme.shake_px)
    for index in range(num_frames):
        yield render_frame(rng, theme=theme, badge=badge, poses=poses, index=index, shift=camera[index])


def render_still(rng: np.random.Generator, *, theme: Theme, badge: Badge, enlarge: float = 1.0) -> Picture:
    """Return one picture, (120, 160, 3) uint8 RGB, as any frame of any motion might show it.

    With `enlarge` above 1 it is a close-up: the badge is larger than in any video by that factor.
    """
    poses = build_poses(rng, motion=MOTIONS[0], num_frames=1)
    camera = build_camera(rng, num_frames=1, shake_px=theme.shake_px)
    poses = replace(poses, radius_px=poses.radius_px * enlarge)
    return render_frame(rng, theme=theme, badge=badge, poses=poses, index=0, shift=camera[0])


def render_frame(
    rng: np.random.Generator, *, theme: Theme, badge: Badge, poses: Poses, index: int, shift: NDArray[np.float64]
) -> Picture:
    """Return the picture, (120, 160, 3) uint8 RGB, of a badge in one of its poses, with a camera shift in px."""
    frame = _crop(theme.canvas, left=MARGIN_PX - float(shift[0]), top=MARGIN_PX - float(shift[1]))
    x, y = float(poses.x_px[index] + shift[0]), float(poses.y_px[index] + shift[1])
    _paint(frame, badge, x_px=x, y_px=y, radius_px=float(poses.radius_px[index]), angle=float(poses.angle[index]))
    frame += 2.0 * rng.standard_normal((HEIGHT_PX, WIDTH_PX, 1), dtype=np.float32)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def _crop(canvas: Floats, *, left: float, top: float) -> Floats:
    column, row = int(np.floor(left)), int(np.floor(top))
    part = canvas[row : row + HEIGHT_PX + 1, column : column + WIDTH_PX + 1]
    right, down = np.float32(left - column), np.float32(top - row)
    part = part[:-1] + down * (part[1:] - part[:-1])
    cropped: Floats = part[:, :-1] + right * (part[:, 1:] - part[:, :-1])
    return cropped


def _paint(frame: Floats, badge: Badge, *, x_px: float, y_px: float, radius_px: float, angle: float) -> None:
    left, right = max(0, int(x_px - radius_px) - 1), min(WIDTH_PX, int(x_px + radius_px) + 2)
    top, bottom = max(0, int(y_px - radius_px) - 1), min(HEIGHT_PX, int(y_px + radius_px) + 2)
    x = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x_px)) / np.float32(radius_px)
    y = ((np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y_px)) / np.float32(radius_px))[:, None]
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    colours = _sample(badge.texture, x=cosine * x + sine * y, y=cosine * y - sine * x)
    cover = np.clip((1 - np.hypot(x, y)) * np.float32(radius_px) + np.float32(0.5), 0, 1)[..., None]
    region = frame[top:bottom, left:right]
    region += cover * (colours - region)


def _sample(texture: Floats, *, x: Floats, y: Floats) -> Floats:
    column = np.clip((x + 1) * (TEXTURE_PX / 2) - np.float32(0.5), 0, TEXTURE_PX - np.float32(1.001))
    row = np.clip((y + 1) * (TEXTURE_PX / 2) - np.float32(0.5), 0, TEXTURE_PX - np.float32(1.001))
    corner = row.astype(np.intp) * TEXTURE_PX + column.astype(np.intp)
    right, down = (column % 1)[..., None], (row % 1)[..., None]
    texels = texture.reshape(-1, 3)
    above = texels[corner] + right * (texels[corner + 1] - texels[corner])
    below = texels[corner + TEXTURE_PX] + right * (texels[corner + TEXTURE_PX + 1] - texels[corner + TEXTURE_PX])
    sampled: Floats = above + down * (below - above)
    return sampled


def _distance(object_name: str, *, x: Floats, y: Floats) -> Floats:
    """Return the signed distance to the emblem's edge, in badge radii; all four emblems cover about the same area."""
    across, along, middle = np.abs(x), np.abs(y), np.hypot(x, y)
    if object_name == "Square":
        distance = np.maximum(across, along) - 0.58
    elif object_name == "Moon":
        distance = np.maximum(middle - 0.84, 0.6 - np.hypot(x - 0.52, y))
    elif object_name == "Cross":
        arms = np.minimum(np.maximum(across / 0.86, along / 0.235), np.maximum(along / 0.86, across / 0.235))
        distance = (arms - 1) * 0.235
    else:
        tip, notch, turn = 0.97, 0.45, np.pi / 5  # radii of a star's points and notches, angle between the two
        fold = np.abs((np.arctan2(x, -y) + turn) % (2 * turn) - turn)
        reach, rise = tip - notch * np.cos(turn), notch * np.sin(turn)
        distance = (middle * (reach * np.sin(fold) + rise * np.cos(fold)) - tip * rise) / np.hypot(reach, rise)
    return distance.astype(np.float32)


def _distractor(rng: np.random.Generator, *, height: int, width: int) -> Floats:
    """Return the cover (height, width) of a random triangle or bar."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x - np.float32(rng.uniform(0, width)), y - np.float32(rng.uniform(0, height))
    angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(8, 22)
    is_bar = rng.random() < 0.5
    turns = np.arange(4) / 4 if is_bar else np.arange(3) / 3
    reaches = size * np.array([1.0, 0.4, 1.0, 0.4]) if is_bar else size * np.full(3, 0.5)
    cover = np.ones((height, width), dtype=np.float32)
    for turn, reach in zip(turns, reaches, strict=True):
        direction = np.float32(angle + 2 * np.pi * turn)
        cover = np.minimum(cover, np.float32(reach + 0.5) - x * np.cos(direction) - y * np.sin(direction))
    return np.clip(cover, 0, 1)


def _noise(rng: np.random.Generator, *, height: int, width: int, cell_px: float) -> Floats:
    """Return smooth noise (height, width) in -1..1 whose bumps are about a cell wide."""
    rows, columns = int(height / cell_px) + 2, int(width / cell_px) + 2
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return _stretch(_stretch(grid, length=height, cell_px=cell_px).T, length=width, cell_px=cell_px).T


def _stretch(grid: Floats, *, length: int, cell_px: float) -> Floats:
    """Return the rows of `grid`, a cell apart, drawn out to `length` rows a pixel apart by straight lines between."""
    place = np.arange(length) / cell_px
    row, part = place.astype(np.intp), (place % 1).astype(np.float32)[:, None]
    stretched: Floats = grid[row] + part * (grid[row + 1] - grid[row])
    return stretched


def _there_and_back(cycles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -1..1 at a steady pace: up in the first half of each cycle, down in the second."""
    back: NDArray[np.float64] = 1 - 4 * np.abs(cycles % 1 - 0.5)
    return back


def _choose_colour(rng: np.random.Generator) -> str:
    return str(rng.choice(list(COLOURS)))


def _shade(rng: np.random.Generator, *, colour: str) -> Floats:
    return (np.array(COLOURS[colour]) + rng.uniform(-14, 14, 3)).astype(np.float32)


def _lightness(colour: str) -> float:
    return float(np.dot(COLOURS[colour], (0.299, 0.587, 0.114)))
