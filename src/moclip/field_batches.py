"""From motion vectors to the tensors that a motion network sees: segments, crops, mirroring, and the pixel code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moclip.motion import FieldSpec, MotionVectors, build_fields, flip_fields, frames_with_motion, pixel_code
from moclip.sampling import choose_segment_frames

Fields = NDArray[np.float32]

# Share of the shorter side that a test crop takes: 224 of 256 in CoViAR.
TEST_CROP = 0.875


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """What is seen of a video: the field, the side of the square input in px, and where the pixel code saturates."""

    spec: FieldSpec
    input_px: int
    max_px: float

    @classmethod
    def from_config(cls, variant: Mapping[str, Any]) -> "FieldConfig":
        """Return what a motion network variant of the configuration says; a window of 0 goes back to the keyframe."""
        field = variant["field"]
        spec = FieldSpec(
            kind=field["kind"],
            window=field["window"] or None,
            stride=field["stride"],
            compensate_camera=field["compensate_camera"],
            upright=field["upright"],
        )
        return cls(spec=spec, input_px=variant["input_px"], max_px=variant["max_px"])


def build_segments(
    motion: MotionVectors, *, config: FieldConfig, num_segments: int, rng: np.random.Generator | None
) -> Fields:
    """Return one field for each segment, float32 (S, h, w, 2), in px: a random frame of the segment, or its centre.

    Fields keep the px of the source picture whatever size they are resized to, as in the authors' code.
    """
    frames = choose_segment_frames(frames_with_motion(motion), num_segments=num_segments, rng=rng)
    return build_fields(motion, frames, spec=config.spec)


def crop_for_training(
    fields: Fields, *, config: FieldConfig, scales: Sequence[float], flip: bool, rng: np.random.Generator
) -> Tensor:
    """Return a random square of all segments, (S, 2, P, P), coded; mirrored half of the time where `flip` says so."""
    height, width = fields.shape[1:3]
    side = max(1, round(float(rng.choice(list(scales))) * min(height, width)))
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(0, width - side + 1))
    crop = fields[:, top : top + side, left : left + side]
    if flip and rng.random() < 0.5:
        crop = flip_fields(crop)
    return _see(crop, config=config)


def crop_for_test(fields: Fields, *, config: FieldConfig, crops: int, flips: bool) -> Tensor:
    """Return crops of all segments, (S * crops * (1 + flips), 2, P, P), coded: the centre, or it and the corners."""
    height, width = fields.shape[1:3]
    side = max(1, round(TEST_CROP * min(height, width)))
    bottom, right = height - side, width - side
    places = [(bottom // 2, right // 2)]
    if crops == 5:
        places += [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    seen = [fields[:, top : top + side, left : left + side] for top, left in places]
    if flips:
        seen += [flip_fields(crop) for crop in seen]
    return _see(np.concatenate(seen), config=config)


def _see(fields: Fields, *, config: FieldConfig) -> Tensor:
    side = config.input_px
    tensor = torch.from_numpy(np.ascontiguousarray(fields.transpose(0, 3, 1, 2)))
    if tensor.shape[-2:] != (side, side):
        tensor = torch.nn.functional.interpolate(tensor, size=(side, side), mode="bilinear", antialias=True)
    return torch.from_numpy(pixel_code(tensor.numpy(), max_px=config.max_px))


def as_floats(tensor: Tensor) -> NDArray[np.float32]:
    """Return a tensor as a float32 array in main memory."""
    return np.asarray(tensor.detach().float().cpu().numpy(), dtype=np.float32)
