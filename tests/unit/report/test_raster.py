"""Lines cover the area that geometry says, wherever and however they lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.report import motion_drawing as raster
from moclip.report.motion_drawing import as_rgba, blend, cover_lines, cover_stripes, empty_layer, lay_over


@settings(max_examples=60, deadline=None)
@given(
    angle=st.floats(0, 2 * np.pi),
    length=st.floats(0, 40),
    radius=st.floats(0.8, 3),
    x=st.floats(49, 51),
    y=st.floats(49, 51),
)
def test_a_line_covers_its_area(angle: float, length: float, radius: float, x: float, y: float) -> None:
    start = np.array([[x, y]])
    stop = start + length * np.array([[np.cos(angle), np.sin(angle)]])
    cover = cover_lines(start, stop, radius_px=radius, height=100, width=100)
    # The edge is a ramp one px wide along the distance: straight edges keep their area, round ends gain pi / 12.
    # Sampled at whole pixels the ramp aliases at one frequency, that of the diagonal (sqrt(2) a px):
    # 2 sinc(sqrt(2)) / (pi sqrt(2)) = 0.1 px of width at most; and the two ends, at most 0.7 of a pixel together.
    area = 2 * radius * length + np.pi * (radius**2 + 1 / 12)
    assert cover.sum() == pytest.approx(area, rel=0, abs=0.1 * length + 0.8)
    # Its middle is where the middle of the line is, and it is the same line the other way round.
    rows, columns = np.mgrid[:100, :100] + 0.5
    centre = [(cover * columns).sum() / cover.sum(), (cover * rows).sum() / cover.sum()]
    np.testing.assert_allclose(centre, (start + stop)[0] / 2, atol=0.3)
    back = cover_lines(stop, start, radius_px=radius, height=100, width=100)
    np.testing.assert_allclose(back, cover, atol=1e-4)


def test_lines_are_cut_off_at_the_edges_of_the_picture() -> None:
    starts, stops = np.array([[-50.0, 5], [500, 500], [3, -9]]), np.array([[50.0, 5], [900, 600], [3, 90]])
    cover = cover_lines(starts, stops, radius_px=1.0, height=10, width=20)
    assert cover[4:6].min() == 1
    assert cover[:, 2:4].min() == 1
    assert cover[[0, 1, 8, 9], 8:].max() == 0


def test_lines_are_the_same_whether_they_are_drawn_at_once_or_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    starts, stops = rng.uniform(-10, 70, (2, 200, 2))
    at_once = cover_lines(starts, stops, radius_px=1.3, height=60, width=60)
    monkeypatch.setattr(raster, "_MAX_PIXELS", 2000)
    np.testing.assert_array_equal(cover_lines(starts, stops, radius_px=1.3, height=60, width=60), at_once)


def test_no_line_covers_nothing() -> None:
    nothing = np.empty((0, 2), np.float32)
    assert cover_lines(nothing, nothing, radius_px=1, height=4, width=4).max() == 0


def test_stripes_cover_a_third() -> None:
    stripes = cover_stripes(height=90, width=90, period_px=9)
    assert stripes.mean() == pytest.approx(1 / 3, abs=0.02)
    # They rise to the right: the same along the other diagonal.
    np.testing.assert_allclose(stripes[1:, :-1], stripes[:-1, 1:], atol=1e-4)


def test_a_layer_over_a_picture_is_the_colours_laid_over_it() -> None:
    layer = empty_layer(height=1, width=3)
    blend(layer, colour=(0, 0, 0), cover=np.array([[0.0, 0.5, 0.5]], np.float32))
    blend(layer, colour=(200, 100, 0), cover=np.array([[0.0, 0.0, 0.5]], np.float32))
    image = np.full((1, 3, 3), 100, np.uint8)
    shown = lay_over(image, rgba=as_rgba(layer))
    # Half black over 100 is 50; half of that and half of (200, 100, 0) is (125, 75, 25).
    assert np.abs(shown[0].astype(int) - [[100, 100, 100], [50, 50, 50], [125, 75, 25]]).max() <= 1
