"""Crops of motion fields are exact where they can be: mirrored, coded, rescaled."""

from typing import Any

import numpy as np
import pytest
import torch

from moclip.config.network_settings import MotionNetworkVariant
from moclip.encoders.motion_input import crop_for_test, crop_for_training, decode_crops, encode_crop
from moclip.extraction.motion_embedding import embedding_settings
from moclip.motion.fields import pixel_code
from tests.unit.encoders.motion_networks import TRAIN, variant


def fields_of(height: int, width: int, *, seed: int = 0, span: int = 30) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).integers(-span, span + 1, (2, height, width, 2)).astype(np.float32)


@pytest.mark.parametrize("side", [24, 32, 43])
def test_no_motion_keeps_its_code_mirrored_resized_or_not(side: int) -> None:
    still = np.zeros((1, side, side, 2), np.float32)
    for mirrored in (False, True):
        for rescale in (False, True):
            codes = encode_crop(still, variant=variant(rescale_vectors=rescale), mirrored=mirrored)
            assert codes.dtype == torch.uint8
            assert bool((codes == 128).all())
    assert float(decode_crops(codes).unique()) == pytest.approx(128 / 255 - 0.5, abs=1e-6)


def test_without_a_resize_the_code_is_the_pixel_code_of_the_field() -> None:
    fields = fields_of(32, 32)
    expected = pixel_code(fields, max_px=20).transpose(0, 3, 1, 2)
    codes = encode_crop(fields, variant=variant(), mirrored=False)
    np.testing.assert_array_equal(codes.numpy(), expected)
    np.testing.assert_allclose(decode_crops(codes).numpy(), expected / 255 - 0.5, atol=1e-6)


@pytest.mark.parametrize("side", [24, 32, 40])
def test_a_mirrored_crop_is_the_crop_of_the_mirrored_field_with_x_negated(side: int) -> None:
    fields = fields_of(side, side)
    turned = fields[:, :, ::-1].copy()
    turned[..., 0] = -turned[..., 0]
    mirrored = encode_crop(fields, variant=variant(), mirrored=True)
    assert torch.equal(mirrored, encode_crop(turned, variant=variant(), mirrored=False))
    # The y component is the same picture, left and right swapped, whatever the size it is resized to.
    assert torch.equal(mirrored[:, 1], encode_crop(fields, variant=variant(), mirrored=False)[:, 1].flip(-1))


def test_mirroring_negates_whole_px_exactly() -> None:
    fields = np.zeros((1, 32, 32, 2), np.float32)
    fields[..., 0] = 4
    both = [encode_crop(fields, variant=variant(max_px=127.5), mirrored=mirrored) for mirrored in (False, True)]
    assert [int(codes[0, 0, 0, 0]) - 128 for codes in both] == [4, -4]


def test_vectors_grow_with_the_picture_only_where_that_is_asked_for() -> None:
    fields = np.zeros((1, 16, 16, 2), np.float32)
    fields[..., 0], fields[..., 1] = 8, -4
    for rescale, factor in ((False, 1), (True, 4)):
        # A stride of 1: 16 px of the source become 32 of the input. Counted in 127.5 px, a px is a step of the code.
        field = {"kind": "raw", "stride": 1, "upright": False}
        codes = encode_crop(
            fields, variant=variant(field=field, rescale_vectors=rescale, max_px=127.5, input_px=64), mirrored=False
        )
        assert codes[0, :, 5, 5].tolist() == [128 + 8 * factor, 128 - 4 * factor]


def squash(**changes: Any) -> MotionNetworkVariant:
    field = {"kind": "raw", "stride": 1, "upright": False}
    return variant(field=field, geometry="squash", max_px=127.5, **changes)


@pytest.mark.parametrize(("height", "width"), [(64, 85), (85, 64), (256, 340)])
def test_squash_scales_vectors_by_the_ratio_of_each_axis(height: int, width: int) -> None:
    fields = np.zeros((1, height, width, 2), np.float32)
    fields[..., 0], fields[..., 1] = 20, -20
    # The field becomes a square of 32 / 0.875 px, so a motion of 20 px across the width becomes that share of it.
    kept, scaled = (
        crop_for_test(fields, variant=squash(rescale_vectors=rescale), crops=1, flips=False)
        for rescale in (False, True)
    )
    seen = round(0.875 * width), round(0.875 * height)
    assert kept[0, :, 5, 5].tolist() == [128 + 20, 128 - 20]
    assert scaled[0, :, 5, 5].tolist() == [128 + int(20 * 32 / seen[0]), 128 - int(20 * 32 / seen[1])]


def test_squash_sees_seven_eighths_of_both_sides_and_a_crop_of_the_shorter() -> None:
    # Each column has its own motion, so the codes at the borders show which columns a crop reads.
    fields = np.zeros((1, 96, 128, 2), np.float32)
    fields[..., 0] = np.arange(128) - 64
    fields[..., 1] = (np.arange(96) - 48)[:, None]
    codes = crop_for_test(fields, variant=squash(input_px=96), crops=1, flips=False)[0].numpy().astype(int) - 64
    assert (codes[0].min(), codes[0].max()) == (8, 119)
    assert (codes[1].min() - 16, codes[1].max() - 16) == (6, 89)
    corners = crop_for_test(fields, variant=squash(input_px=96), crops=5, flips=False)[1:, 0].numpy().astype(int) - 64
    assert [(crop.min(), crop.max()) for crop in corners] == [(0, 111), (16, 127), (0, 111), (16, 127)]
    square = squash(input_px=84).model_copy(update={"geometry": "crop"})
    codes = crop_for_test(fields, variant=square, crops=1, flips=False)[0].numpy().astype(int) - 64
    assert (codes[0].min(), codes[0].max()) == (22, 22 + 83)


@pytest.mark.parametrize("own", [False, True])
def test_each_segment_has_its_own_place_only_where_that_is_asked_for(own: bool) -> None:
    fields = np.zeros((6, 64, 80, 2), np.float32)
    fields[..., 0] = np.arange(80) - 40
    fields[..., 1] = (np.arange(64) - 32)[:, None]
    train = {**TRAIN, "scales": [0.5], "segment_crops": own}
    field = {"kind": "raw", "stride": 1, "upright": False}
    settings = variant(train=train, max_px=127.5, field=field)
    codes = crop_for_training(fields, variant=settings, rng=np.random.default_rng(0))
    places = {tuple(crop[:, 0, 0].tolist()) for crop in codes}
    assert len(places) == (6 if own else 1)
    assert all(0 <= x - 88 <= 48 and 0 <= y - 96 <= 32 for x, y in places)


def test_new_keys_at_their_defaults_change_no_key_of_cached_features() -> None:
    plain, changed = variant(), squash(train={**TRAIN, "segment_crops": True, "classifier_init": "linear"})
    assert plain.canonical().keys() - {"geometry"} == plain.canonical().keys()
    assert not {"segment_crops", "classifier_init"} & plain.canonical()["train"].keys()
    assert embedding_settings(changed)["geometry"] == "squash"
    assert {"segment_crops", "classifier_init"} <= changed.canonical()["train"].keys()


def test_a_rescale_counts_the_px_between_the_sample_points() -> None:
    fields = np.full((1, 8, 8, 2), 10, np.float32)  # stride 8: 64 px of the source, 32 of the input
    codes = encode_crop(fields, variant=variant(rescale_vectors=True, max_px=127.5), mirrored=False)
    assert codes.unique().tolist() == [128 + 5]


def test_a_flip_is_drawn_half_of_the_time_and_crops_stay_inside() -> None:
    fields = np.zeros((1, 40, 60, 2), np.float32)
    fields[..., 0] = 10
    flipped = variant(train={**TRAIN, "scales": [1, 0.75], "flip": True})
    draws = [crop_for_training(fields, variant=flipped, rng=np.random.default_rng(seed)) for seed in range(200)]
    signs = [int(codes[0, 0, 0, 0]) > 128 for codes in draws]
    assert 70 < sum(signs) < 130
    assert all(codes[:, 0].unique().numel() == 1 for codes in draws)


def test_ten_crops_are_five_and_their_mirrors() -> None:
    fields = fields_of(64, 80)
    ten = crop_for_test(fields, variant=variant(), crops=5, flips=True)
    five = crop_for_test(fields, variant=variant(), crops=5, flips=False)
    assert torch.equal(ten[:10], five)
    assert torch.equal(ten[10:, 1], five[:, 1].flip(-1))
    assert len({crop.numpy().tobytes() for crop in ten}) == 20
