"""Orientations of pictures and of motion fields."""

import numpy as np
import pytest

from moclip.core.orientation import Orientation, read_display_matrix

ALL = [Orientation(is_mirrored=flag, rotation_degrees=turn) for flag in (False, True) for turn in (0, 90, 180, 270)]
ONE = 1 << 16


def matrix_of(orientation: Orientation, *, scale: float = 1.0) -> list[int]:
    """The display matrix of a container: places (x, y) are shown at (a x + c y, b x + d y)."""
    angle = np.radians(orientation.rotation_degrees)
    a, b, c, d = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    if orientation.is_mirrored:
        a, b = -a, -b
    return [round(ONE * scale * value) for value in (a, b, 0, c, d, 0, 0, 0, 1)]


@pytest.mark.parametrize("orientation", ALL)
def test_a_display_matrix_names_its_orientation_at_any_scale(orientation: Orientation) -> None:
    for scale in (1.0, 0.5, 3.0):
        assert read_display_matrix(matrix_of(orientation, scale=scale)) == orientation


@pytest.mark.parametrize("matrix", [[0] * 9, [ONE, ONE, 0, -ONE, ONE, 0, 0, 0, ONE], [ONE, 0, 0, 0, 0, 0, 0, 0, ONE]])
def test_another_matrix_leaves_the_picture_as_it_is(matrix: list[int]) -> None:
    assert read_display_matrix(matrix) == Orientation()


@pytest.mark.parametrize("orientation", ALL)
def test_pictures_and_their_motion_change_together(orientation: Orientation) -> None:
    picture = np.arange(12 * 8).reshape(8, 12)
    np.testing.assert_array_equal(orientation.undo(orientation.apply(picture)), picture)
    # A point at (x, y) = (5, 2) moves by (3, 1): so does its picture, once both are upright.
    before, after = np.zeros((8, 12)), np.zeros((8, 12))
    before[2, 5] = after[3, 8] = 1
    fields = np.zeros((8, 12, 2), np.float32)
    fields[2, 5] = (3, 1)
    start, end = (np.argwhere(orientation.apply(image))[0] for image in (before, after))
    upright = orientation.apply_to_fields(fields)
    assert upright.shape[:2] == orientation.apply(picture).shape
    assert upright[tuple(start)].tolist() == (end - start)[::-1].tolist()


def test_a_mirrored_picture_is_mirrored_before_it_is_turned() -> None:
    picture = np.array([[1, 2], [3, 4]])
    assert Orientation(is_mirrored=True).apply(picture).tolist() == [[2, 1], [4, 3]]
    assert Orientation(rotation_degrees=90).apply(picture).tolist() == [[3, 1], [4, 2]]
    assert Orientation(is_mirrored=True, rotation_degrees=90).apply(picture).tolist() == [[4, 2], [3, 1]]
