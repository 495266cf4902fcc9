"""Render videos whose classes are orders of events, so that only a method that reads order can name the class.

A video has eight slots of equal length and a divider in the middle. The badge shows a square in four slots, and the
events, a moon and a star, in two slots each. At the divider it shows a cross. The badge moves slowly in half of the
slots and twice as fast in the others. The second class of a pair shows videos of the first class played backward. So
the middle frame is equally distributed in all classes, and so is the mean over all frames, or over 4 or 8 evenly spaced
frames. Four frames are too few for the pair of speeds: they may miss every second slot.
"""

from collections.abc import Iterator

import numpy as np

from moclip.dataset.demo_rendering import MOTIONS, Picture, Theme, build_badge, build_camera, build_poses, render_frame

EMBLEMS = {"Q": "Square", "M": "Moon", "S": "Star", "+": "Cross"}

DIVIDER = "+++"  # three frames, so that the number of frames is odd and the frames at equal distances are symmetric

SLOT_FRAMES = (4, 5)

STEADY = ("11222211", "22111122")

# The classes of a pair -> the emblems of the slots in the first class, and their paces; a video draws one of each.
ORDERS: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("MoonThenStar", "StarThenMoon"): (
        tuple(moon + star for moon in ("MMQQ", "QMMQ", "QQMM") for star in ("SSQQ", "QSSQ", "QQSS")),
        STEADY,
    ),
    ("EventsEarly", "EventsLate"): (("MMSSQQQQ", "SSMMQQQQ"), STEADY),
    ("SpeedingUp", "SlowingDown"): (("QQQMSMQS", "QQQSMSQM"), ("11112222",)),
}

ORDER_CLASSES = tuple(name for pair in ORDERS for name in pair)


def render_order_video(rng: np.random.Generator, *, theme: Theme, class_name: str) -> Iterator[Picture]:
    """Yield the frames, (120, 160, 3) uint8 RGB, of a video of this class in this place.

    Equal random numbers give all classes the same badge, motion and camera, and the classes of a pair mirrored videos.
    """
    badge_seed, slot_frames = int(rng.integers(2**32)), int(rng.integers(SLOT_FRAMES[0], SLOT_FRAMES[1] + 1))
    num_frames = 8 * slot_frames + len(DIVIDER)
    poses = build_poses(rng, motion=str(rng.choice(MOTIONS)), num_frames=2 * num_frames)
    camera = build_camera(rng, num_frames=num_frames, shake_px=theme.shake_px)
    pair = next(pair for pair in ORDERS if class_name in pair)
    emblems, paces = (str(rng.choice(choices)) for choices in ORDERS[pair])
    badges = {
        letter: build_badge(np.random.default_rng(badge_seed), object_name=name) for letter, name in EMBLEMS.items()
    }
    shown = _stretch(emblems, slot_frames=slot_frames, divider=DIVIDER)
    places = np.cumsum([int(pace) for pace in _stretch(paces, slot_frames=slot_frames, divider="111")])
    frames = [
        render_frame(rng, theme=theme, badge=badges[letter], poses=poses, index=int(place), shift=shift)
        for letter, place, shift in zip(shown, places, camera, strict=True)
    ]
    yield from frames if class_name == pair[0] else reversed(frames)


def _stretch(slots: str, *, slot_frames: int, divider: str) -> str:
    """Return a letter for each frame."""
    halves = ("".join(letter * slot_frames for letter in half) for half in (slots[:4], slots[4:]))
    return divider.join(halves)
