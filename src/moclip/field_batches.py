"""From motion vectors to the tensors that a motion network sees: segments, crops, mirroring, and the pixel code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moclip.motion import FieldSpec, MotionVectors, build_fields, frames_with_motion
from moclip.sampling import choose_segment_frames

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
        )
        return cls(spec=spec, input_px=variant["input_px"], max_px=variant["max_px"])


def code_fields(fields: Tensor, *, max_px: float) -> Tensor:
    """Return fields in px as the network sees them, -0.5 to 0.5, in steps of 1/255; `max_px` and more saturate.

    Source: the code of Wu et al. 2018: `v * 127.5 / 20 + 128`, clipped to a byte, divided by 255, less 0.5.
    """
    return (fields * (127.5 / max_px) + 128).clamp(0, 255).floor() / 255 - 0.5


def build_segments(
    motion: MotionVectors, *, config: FieldConfig, num_segments: int, rng: np.random.Generator | None
) -> Tensor:
    """Return one field for each segment, (S, 2, h, w), in px: a random frame of the segment, or the one at its centre.

    Fields keep the px of the source picture whatever size they are resized to, as in the authors' code.
    """
    frames = choose_segment_frames(frames_with_motion(motion), num_segments=num_segments, rng=rng)
    fields = build_fields(motion, frames, spec=config.spec)
    return torch.from_numpy(np.ascontiguousarray(fields.transpose(0, 3, 1, 2)))


def crop_for_training(
    fields: Tensor, *, config: FieldConfig, scales: Sequence[float], flip: bool, rng: np.random.Generator
) -> Tensor:
    """Return a random square of all segments, (S, 2, P, P), coded; mirrored half of the time where `flip` says so."""
    height, width = fields.shape[-2:]
    side = max(1, round(float(rng.choice(list(scales))) * min(height, width)))
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(0, width - side + 1))
    crop = _resize(fields[..., top : top + side, left : left + side], side_px=config.input_px)
    if flip and rng.random() < 0.5:
        crop = mirror(crop)
    return code_fields(crop, max_px=config.max_px)


def crop_for_test(fields: Tensor, *, config: FieldConfig, crops: int, flips: bool) -> Tensor:
    """Return crops of all segments, (S * crops * (1 + flips), 2, P, P), coded: the centre, or it and the corners."""
    height, width = fields.shape[-2:]
    side = max(1, round(TEST_CROP * min(height, width)))
    bottom, right = height - side, width - side
    places = [(bottom // 2, right // 2)]
    if crops == 5:
        places += [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    seen = [fields[..., top : top + side, left : left + side] for top, left in places]
    resized = [_resize(crop, side_px=config.input_px) for crop in seen]
    if flips:
        resized += [mirror(crop) for crop in resized]
    return code_fields(torch.cat(resized), max_px=config.max_px)


def mirror(fields: Tensor) -> Tensor:
    """Return the fields of the mirrored video: columns reversed, and the horizontal component negated."""
    turned = fields.flip(-1)
    return turned * torch.tensor([-1.0, 1.0]).reshape(2, 1, 1)


def _resize(fields: Tensor, *, side_px: int) -> Tensor:
    if fields.shape[-2:] == (side_px, side_px):
        return fields
    return torch.nn.functional.interpolate(fields, size=(side_px, side_px), mode="bilinear", antialias=True)


def as_floats(tensor: Tensor) -> NDArray[np.float32]:
    """Return a tensor as a float32 array in main memory."""
    return np.asarray(tensor.detach().float().cpu().numpy(), dtype=np.float32)
