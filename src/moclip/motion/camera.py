"""Fit the camera motion of motion fields robustly, and subtract it."""

import numpy as np
from numpy.typing import NDArray

_MAX_POINTS = 600

_MIN_POINTS = 24

_NUM_ROUNDS = 8

_TUKEY = 4.685

# Scatter below this is the codec's own precision, and no reason to drop a point.
_MIN_SIGMA_PX = 0.25


def remove_camera(fields: NDArray[np.float32], *, valid: NDArray[np.bool_] | None) -> None:
    """Take the motion of the camera, `fit_affine`, off each field, in place, where it is valid.

    Args:
        fields: (S, h, w, 2) float32, px.
        valid: (S, h, w) bool, which points count and are changed; None for all. A field with hardly any is left alone.
    """
    if not fields.size:
        return
    num_fields, height, width, _ = fields.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    design = np.stack([np.ones_like(x), x, y], axis=-1)
    every = max(1, int(np.ceil(np.sqrt(height * width / _MAX_POINTS))))
    sample = (slice(every // 2, None, every), slice(every // 2, None, every))
    points = design[sample].reshape(-1, 3)
    motion = fields[:, *sample].reshape(num_fields, -1, 2)
    counted = np.ones(motion.shape[:2], np.bool_) if valid is None else valid[:, *sample].reshape(num_fields, -1)
    affine = fit_affine(points, motion, counted=counted).astype(np.float32)
    for index in np.flatnonzero(counted.sum(axis=1) >= _MIN_POINTS):
        camera = design.astype(np.float32) @ affine[index]
        changed = True if valid is None else valid[index][..., None]
        np.subtract(fields[index], camera, out=fields[index], where=changed)


def fit_affine(
    points: NDArray[np.floating], motion: NDArray[np.floating], *, counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return (S, 3, 2) float64, px: for each field the linear function of the points that most of them agree on.

    Least squares, weighted again in every round by Tukey's biweight of the residuals, so that what moves by itself does
    not pull the fit as long as it covers less than about half of the points.

    Args:
        points: (N, 3), each `1, x, y`.
        motion: (S, N, 2), px.
        counted: (S, N) bool, which points have a motion.
    """
    target = motion.astype(np.float64)
    affine = np.zeros((len(target), 3, 2))
    affine[:, 0] = np.stack([_median(target[..., axis], counted=counted) for axis in (0, 1)], axis=-1)
    for _ in range(_NUM_ROUNDS):
        residual = np.linalg.norm(target - points @ affine, axis=-1)
        sigma = np.maximum(1.4826 * _median(residual, counted=counted), _MIN_SIGMA_PX)
        weight = np.clip(1 - (residual / (_TUKEY * sigma[:, None])) ** 2, 0, None) ** 2 * counted
        weighted = (points * weight[..., None]).transpose(0, 2, 1)
        # A trace of ridge keeps the fit where all remaining points are on one line.
        affine = np.linalg.solve(weighted @ points + 1e-6 * np.eye(3), weighted @ target)
    return affine


def _median(values: NDArray[np.float64], *, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    # Of each row of (S, N) values, among those that count; 0 where none does.
    ordered = np.sort(np.where(counted, values, np.inf), axis=1)
    number = counted.sum(axis=1)
    middle = ordered[np.arange(len(ordered)), np.maximum(number - 1, 0) // 2]
    return np.where(number > 0, middle, 0.0)
