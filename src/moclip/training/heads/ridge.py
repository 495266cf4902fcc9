"""Ridge regression to one-hot labels, in closed form.

One eigendecomposition gives the solutions for all penalties. A penalty is a multiple of the mean eigenvalue of the
inputs' scatter, so that the same value suits another number of videos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moclip.training.closed_form import ClosedFormHead, Solution

PENALTIES = tuple(10.0**power for power in range(-3, 4))

_SMALLEST = 1e-10  # relative to the largest eigenvalue: what is below it is rounding


class RidgeHead(ClosedFormHead):
    """W = (X^T X + penalty I)^-1 X^T Y, with an intercept that is not penalized."""

    def solve(self, inputs: Tensor, labels: Tensor, *, num_classes: int) -> Sequence[Solution]:
        """Return a solution for each penalty."""
        targets = torch.nn.functional.one_hot(labels.long(), num_classes).double()
        center = targets.mean(dim=0)
        vectors, values = decompose(inputs)
        projected = vectors.T @ (inputs.T @ (targets - center))
        mean_value = values.sum() / inputs.shape[1]
        return [
            Solution(
                weight=(vectors @ (projected / (values + penalty * mean_value)[:, None])).T,
                bias=center,
                settings={"penalty": penalty},
            )
            for penalty in PENALTIES
        ]


def decompose(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvectors (D, R) and eigenvalues (R,) of X^T X above rounding, by the smaller of X^T X and X X^T."""
    tall = inputs.shape[0] > inputs.shape[1]
    values, vectors = torch.linalg.eigh(inputs.T @ inputs if tall else inputs @ inputs.T)
    kept = values > _SMALLEST * values.max()
    values, vectors = values[kept], vectors[:, kept]
    return (vectors if tall else inputs.T @ vectors / values.sqrt()), values


STRATEGY = RidgeHead()
