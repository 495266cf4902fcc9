"""Sizes that follow from what is counted; the stand-ins have no layers to count."""

from pathlib import Path

from moclip.config.settings import AppearanceVariant
from moclip.training.head_files import TrainedHead


def count_head(head: TrainedHead) -> tuple[int, int]:
    """Return a head's numbers, and one product with each."""
    size = sum(value.size for value in head.state.values())
    return size, size


def count_network(path: Path, *, input_px: int) -> tuple[int, int]:
    """Return the size of the network's file, and a product for each pixel."""
    return path.stat().st_size, input_px**2


def count_image_tower(variant: AppearanceVariant) -> tuple[int, int]:
    """Return one parameter, and one product."""
    return 1, 1
