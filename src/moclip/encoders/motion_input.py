"""Network inputs from motion vectors: segments, crops, flips and input quantization.

A crop is quantized to 8 bits before it is resized, as CoViAR's loader does. Saturation then happens at the size of the
source, a crop takes a quarter of the memory of floats, and a resize of integers is exactly symmetric.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moclip.config.network_settings import MotionNetworkVariant
from moclip.motion.fields import build_field_spec, build_fields, frames_with_motion, pixel_code
from moclip.motion.vectors import MotionVectors
from moclip.video.sampling import choose_segment_frames

Fields = NDArray[np.float32]

# Share of a side that a test crop takes: 224 of 256 in CoViAR.
TEST_CROP = 0.875


def build_segments(
    motion: MotionVectors, *, variant: MotionNetworkVariant, num_segments: int, rng: np.random.Generator | None
) -> Fields:
    """Return one field for each segment, float32 (S, h, w, 2), in px: a random frame of the segment, or its centre."""
    frames = choose_segment_frames(frames_with_motion(motion), num_segments=num_segments, rng=rng)
    return build_fields(motion, frames, spec=build_field_spec(variant.field))


def crop_for_training(fields: Fields, *, variant: MotionNetworkVariant, rng: np.random.Generator) -> Tensor:
    """Return a random crop of all segments, coded, uint8 (S, 2, P, P); with `train.flip` mirrored half of the time.

    With `train.segment_crops` each segment has another place. Scale and mirroring are those of the video.

    Source: Wang et al. 2016 (arXiv 1608.00859), section 3.2 (scale jittering); here crops at any place.
    """
    height, width = _crop_size(fields, share=float(rng.choice(variant.train.scales)), variant=variant)
    num_places = len(fields) if variant.train.segment_crops else 1
    tops = np.broadcast_to(rng.integers(0, fields.shape[1] - height + 1, num_places), len(fields))
    lefts = np.broadcast_to(rng.integers(0, fields.shape[2] - width + 1, num_places), len(fields))
    mirrored = variant.train.flip and rng.random() < 0.5
    crops = [field[y : y + height, x : x + width] for field, y, x in zip(fields, tops, lefts, strict=True)]
    return encode_crop(np.stack(crops), variant=variant, mirrored=mirrored)


def crop_for_test(fields: Fields, *, variant: MotionNetworkVariant, crops: int, flips: bool) -> Tensor:
    """Return crops of all segments, coded, uint8 (S * crops * (1 + flips), 2, P, P): the centre, or it and the corners.

    With `flips` every crop comes a second time, mirrored, after all others.
    """
    height, width = _crop_size(fields, share=TEST_CROP, variant=variant)
    bottom, right = fields.shape[1] - height, fields.shape[2] - width
    places = [(bottom // 2, right // 2)]
    if crops == 5:
        places += [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    seen = [
        encode_crop(fields[:, top : top + height, left : left + width], variant=variant, mirrored=mirrored)
        for mirrored in ((False, True) if flips else (False,))
        for top, left in places
    ]
    return torch.cat(seen)


def _crop_size(fields: Fields, *, share: float, variant: MotionNetworkVariant) -> tuple[int, int]:
    """Return the rows and columns of a crop: a square of the shorter side, or with `squash` a part of both sides."""
    height, width = fields.shape[1:3]
    if variant.geometry == "crop":
        height = width = min(height, width)
    return max(1, round(share * height)), max(1, round(share * width))


def encode_crop(fields: Fields, *, variant: MotionNetworkVariant, mirrored: bool) -> Tensor:
    """Return a crop, (S, h, w, 2) in px, as bytes of the input's size, uint8 (S, 2, P, P); see `decode_crops`.

    `mirrored` swaps left and right and negates x before fields become codes, so that no motion keeps its code. With
    `rescale_vectors` motion grows and shrinks as the picture does, along each axis.
    """
    side = variant.input_px
    planes = np.ascontiguousarray(fields.transpose(0, 3, 1, 2))
    if mirrored:
        planes = np.ascontiguousarray(planes[..., ::-1])
        np.negative(planes[:, 0], out=planes[:, 0])
    if variant.rescale_vectors:
        width_and_height = variant.field.stride * np.array(planes.shape[:1:-1], np.float32)
        planes *= (side / width_and_height)[:, None, None]
    codes = torch.from_numpy(pixel_code(planes, max_px=variant.max_px))
    if codes.shape[-2:] == (side, side):
        return codes
    return torch.nn.functional.interpolate(codes, size=(side, side), mode="bilinear", antialias=True)


def decode_crops(codes: Tensor) -> Tensor:
    """Return what the network reads of coded crops: float32 of the same shape, from -0.5 to 0.5."""
    return codes.to(torch.float32).div_(255).sub_(0.5)


def as_floats(tensor: Tensor) -> NDArray[np.float32]:
    """Return a tensor as a float32 array in main memory."""
    return np.asarray(tensor.detach().float().cpu().numpy(), dtype=np.float32)


def draw_view(motion: MotionVectors, *, variant: MotionNetworkVariant, num_segments: int, seed: int) -> Tensor:
    """Return a random view of a video, coded, uint8 (S, 2, P, P): a crop of a random frame of each segment.

    Crops and mirroring follow the training settings of the variant.
    """
    rng = np.random.default_rng(seed)
    fields = build_segments(motion, variant=variant, num_segments=num_segments, rng=rng)
    return crop_for_training(fields, variant=variant, rng=rng)
