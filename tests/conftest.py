"""Fixtures for every test."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a red test is a change of ours; `make fuzz` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout under test."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips beside the project; absent on most machines, demanded where CI=true."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        message = "real clips are absent: expected a folder `shared` beside the project"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder
