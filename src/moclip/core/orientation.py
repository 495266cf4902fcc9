"""The orientation of a picture: how the coded picture becomes the upright one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A matrix that is off by more is none of the eight orientations of a rectangle.
_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight orientations of a rectangle.

    Attributes:
        is_mirrored: Left and right change places first.
        rotation_degrees: Clockwise turn after that: 0, 90, 180 or 270.
    """

    is_mirrored: bool = False
    rotation_degrees: int = 0

    @property
    def is_turned(self) -> bool:
        """Whether width and height change places."""
        return self.rotation_degrees % 180 != 0

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return the upright picture of a coded one, (H, W, ...)."""
        mirrored = picture[:, ::-1] if self.is_mirrored else picture
        return np.rot90(mirrored, -self.rotation_degrees // 90)

    def undo(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return the coded picture of an upright one, (H, W, ...)."""
        turned = np.rot90(picture, self.rotation_degrees // 90)
        return turned[:, ::-1] if self.is_mirrored else turned

    def apply_to_fields(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return motion fields, (..., h, w, 2), of the upright video: places and vectors both change."""
        if self.is_mirrored:
            fields = fields[..., ::-1, :] * np.array([-1, 1], np.float32)
        for _ in range(self.rotation_degrees // 90 % 4):
            turned = np.rot90(fields, -1, axes=(-3, -2))
            # Motion to the right becomes motion down, motion down becomes motion to the left.
            fields = np.stack([-turned[..., 1], turned[..., 0]], axis=-1)
        return fields


def read_display_matrix(matrix: Sequence[int]) -> Orientation:
    """Return the orientation in a display matrix, 9 integers; none if it is not one of the eight.

    >>> read_display_matrix([-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30])
    Orientation(is_mirrored=True, rotation_degrees=0)

    Source: ISO/IEC 14496-12, 6.2.2: the point (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, c, d = (float(matrix[index]) for index in (0, 1, 3, 4))
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    quarters = np.degrees(np.arctan2(b, a)) / 90
    if not (a or b) or not (c or d) or abs(quarters - round(quarters)) > _TOLERANCE:
        return Orientation()
    return Orientation(is_mirrored=is_mirrored, rotation_degrees=round(quarters) % 4 * 90)
