"""Fixtures for every test."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.workflow.conftest import Project

# The same examples in every run, so that a red test is a change of ours; `make fuzz` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _loud() -> Iterator[None]:
    """Let no command that ran in this process, and that tells errors alone, silence the tests that follow."""
    yield
    logging.getLogger("moclip").setLevel(logging.NOTSET)


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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """The toy project, run to its end on this machine; copy it before changing it."""
    from tests.workflow.conftest import run_toy  # noqa: PLC0415 - fast tests need none of it

    return run_toy(tmp_path_factory.mktemp("finished") / "project")
