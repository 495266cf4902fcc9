"""Crops of motion fields are exact where they can be: mirrored, coded, rescaled."""

from typing import Any

import numpy as np
import pytest
import torch

from moclip.encoders.motion_input import crop_for_test, crop_for_training, decode_crops, encode_crop
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
