"""There is nothing to prepare where nothing is computed."""

from typing import Any


def prepare_torch(**others: Any) -> None:
    """Do nothing."""
