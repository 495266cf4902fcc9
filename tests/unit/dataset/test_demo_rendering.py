"""What is drawn: motions that no still can tell, badges whose outline tells nothing."""

from dataclasses import replace

import numpy as np
import pytest

from moclip.dataset.demo_rendering import (
    COLOURS,
    HEIGHT_PX,
    LIGHTNESS_GAP,
    MARGIN_PX,
    MOTIONS,
    OBJECTS,
    RADIUS_PX,
    WIDTH_PX,
    Badge,
    Poses,
    Theme,
    build_badge,
    build_camera,
    build_poses,
    build_theme,
    render_still,
    render_video,
)

COORDINATES = ("x_px", "y_px", "radius_px", "angle")
MOVED = {"Sliding": "x_px", "Bouncing": "y_px", "Pulsing": "radius_px", "Spinning": "angle"}
PLAIN = np.zeros((HEIGHT_PX + 2 * MARGIN_PX, WIDTH_PX + 2 * MARGIN_PX, 3), dtype=np.float32)


def draw_poses(motion: str, *, seed: int, num_frames: int = 40) -> Poses:
    return build_poses(np.random.default_rng(seed), motion=motion, num_frames=num_frames)


def white_badge() -> Badge:
    badge = build_badge(np.random.default_rng(0), object_name="Star")
    return replace(badge, texture=np.full_like(badge.texture, 255))


def dark_place(*, shake_px: float = 0.0) -> Theme:
    return Theme(canvas=PLAIN, colour="black", shake_px=shake_px)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_changes_one_coordinate_and_leaves_the_others_at_rest(motion: str) -> None:
    poses = draw_poses(motion, seed=3)
    changed = [name for name in COORDINATES if np.ptp(getattr(poses, name)) > 0]
    assert changed == [MOVED[motion]]


def test_the_first_pose_is_the_same_whatever_the_motion() -> None:
    for seed in range(20):
        first = {tuple(float(getattr(draw_poses(m, seed=seed), name)[0]) for name in COORDINATES) for m in MOTIONS}
        assert len(first) == 1


@pytest.mark.parametrize("frame_index", [17, 39])
def test_a_pose_has_the_same_distribution_at_every_frame_of_every_motion(frame_index: int) -> None:
    levels = np.linspace(0.1, 0.9, 9)
    for name, tolerance in [("x_px", 5.0), ("y_px", 5.0), ("radius_px", 1.2)]:
        quantiles = []
        for order, motion in enumerate(MOTIONS):
            seeds = range(1000 * order, 1000 * (order + 1))
            drawn = [getattr(draw_poses(motion, seed=s), name)[frame_index] for s in seeds]
            quantiles.append(np.quantile(drawn, levels))
        assert np.ptp(quantiles, axis=0).max() < tolerance, name


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_as_often_drawn_one_way_as_the_other(motion: str) -> None:
    starts = [np.sign(np.diff(getattr(draw_poses(motion, seed=seed), MOVED[motion]))[0]) for seed in range(800)]
    assert abs(np.mean(starts)) < 0.12


def test_a_slide_keeps_its_pace_up_to_the_turning_point() -> None:
    steps = np.abs(np.diff(draw_poses("Sliding", seed=1, num_frames=400).x_px))
    assert np.median(steps) == pytest.approx(steps.max())
    assert np.mean(steps < 0.99 * steps.max()) < 0.1
    assert 1.5 < steps.max() < 3


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_badge_is_drawn_where_and_as_large_as_its_pose_says(motion: str) -> None:
    poses = draw_poses(motion, seed=5, num_frames=12)
    frames = render_video(
        np.random.default_rng(5), theme=dark_place(), badge=white_badge(), motion=motion, num_frames=12
    )
    rows, columns = np.mgrid[:HEIGHT_PX, :WIDTH_PX] + 0.5
    for index, frame in enumerate(frames):
        light = np.where(frame[..., 0] > 20, frame[..., 0] / 255.0, 0.0)
        assert np.average(columns, weights=light) == pytest.approx(poses.x_px[index], abs=0.2)
        assert np.average(rows, weights=light) == pytest.approx(poses.y_px[index], abs=0.2)
        assert light.sum() == pytest.approx(np.pi * poses.radius_px[index] ** 2, rel=0.03)


def test_the_picture_goes_where_the_camera_shifts_it() -> None:
    slope = np.linspace(0, 240, PLAIN.shape[1], dtype=np.float32)
    theme = Theme(canvas=np.broadcast_to(slope[None, :, None], PLAIN.shape), colour="grey", shake_px=4.0)
    rng = np.random.default_rng(2)
    build_poses(rng, motion="Spinning", num_frames=30)
    shift = build_camera(rng, num_frames=30, shake_px=4.0)
    frames = render_video(np.random.default_rng(2), theme=theme, badge=white_badge(), motion="Spinning", num_frames=30)
    edge = np.array([frame[:, :20].mean() for frame in frames])
    per_px = 240 / (PLAIN.shape[1] - 1)
    np.testing.assert_allclose(edge - edge[0], -per_px * (shift[:, 0] - shift[0, 0]), atol=0.15)


def test_the_camera_stays_within_the_margin() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        theme = build_theme(rng)
        assert np.abs(build_camera(rng, num_frames=60, shake_px=theme.shake_px)).max() < MARGIN_PX - 1


def test_emblems_cover_the_same_area_so_that_only_their_shape_tells_them_apart() -> None:
    areas = {}
    for name in OBJECTS:
        badge = build_badge(np.random.default_rng(7), object_name=name)
        middle = badge.texture.reshape(-1, 3)
        ground, figure = (np.array(COLOURS[colour]) for colour in (badge.badge_colour, badge.emblem_colour))
        areas[name] = np.mean(np.linalg.norm(middle - figure, axis=1) < np.linalg.norm(middle - ground, axis=1))
    assert min(areas.values()) > 0.85 * max(areas.values())


def test_an_emblem_is_told_from_its_badge_by_lightness() -> None:
    weights = (0.299, 0.587, 0.114)
    for seed in range(100):
        badge = build_badge(np.random.default_rng(seed), object_name="Moon")
        gap = np.dot(COLOURS[badge.emblem_colour], weights) - np.dot(COLOURS[badge.badge_colour], weights)
        assert abs(gap) >= LIGHTNESS_GAP


def test_one_seed_gives_one_picture_and_another_seed_another() -> None:
    def still(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return render_still(rng, theme=build_theme(rng), badge=build_badge(rng, object_name="Cross"))

    np.testing.assert_array_equal(still(1), still(1))
    assert np.abs(still(1).astype(int) - still(2)).mean() > 10
    assert still(1).shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert still(1).dtype == np.uint8


def test_a_close_up_shows_the_badge_larger() -> None:
    def light(enlarge: float) -> float:
        rng = np.random.default_rng(4)
        still = render_still(rng, theme=dark_place(), badge=white_badge(), enlarge=enlarge)
        return float((still > 128).mean()) * WIDTH_PX * HEIGHT_PX

    assert light(1.0) <= np.pi * RADIUS_PX[1] ** 2
    assert light(1.5) == pytest.approx(2.25 * light(1.0), rel=0.05)


def test_an_unknown_word_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="Bouncing"):
        build_poses(np.random.default_rng(0), motion="Hopping", num_frames=2)
    with pytest.raises(ValueError, match="Cross"):
        build_badge(np.random.default_rng(0), object_name="Ring")
