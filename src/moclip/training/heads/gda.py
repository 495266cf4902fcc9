"""Gaussian discriminant analysis: Bayes' rule for classes with one covariance, in closed form.

Source: Wang et al. 2024 (arXiv 2402.04087), whose shrinkage of the covariance is used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moclip.training.closed_form import ClosedFormHead, Solution

_FEWEST = 0.5  # videos of a class that has none, so that its prior is not zero


class GaussianHead(ClosedFormHead):
    """Class means, and the inverse of the shrunk covariance within classes."""

    def solve(self, inputs: Tensor, labels: Tensor, *, num_classes: int) -> Sequence[Solution]:
        """Return the only solution."""
        member = torch.nn.functional.one_hot(labels.long(), num_classes).double()
        counts = member.sum(dim=0)
        means = member.T @ inputs / counts.clamp_min(1.0)[:, None]
        weight = (len(inputs) - 1) * apply_inverse(inputs - member @ means, means)
        prior = (counts.clamp_min(_FEWEST) / len(inputs)).log()
        return [Solution(weight=weight, bias=prior - 0.5 * (weight * means).sum(dim=1))]


def apply_inverse(centered: Tensor, rows: Tensor) -> Tensor:
    """Return rows (K, D) times (X^T X + trace(S) I)^-1, for X centered within classes, (N, D), and S its covariance.

    With fewer videos than numbers it solves the (N, N) system of Woodbury's identity.
    """
    num_videos, width = centered.shape
    shrinkage = centered.square().sum() / max(1, num_videos - 1)
    shrinkage = shrinkage.clamp_min(torch.finfo(torch.float64).tiny ** 0.5)
    if num_videos > width:
        scatter = centered.T @ centered + shrinkage * torch.eye(width, dtype=torch.float64)
        found: Tensor = torch.linalg.solve(scatter, rows.T).T
        return found
    kernel = centered @ centered.T + shrinkage * torch.eye(num_videos, dtype=torch.float64)
    rest: Tensor = rows - torch.linalg.solve(kernel, centered @ rows.T).T @ centered
    return rest / shrinkage


STRATEGY = GaussianHead()
