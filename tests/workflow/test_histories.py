"""Whatever happened to a project, its next run leaves what a fresh build leaves, and computes no finished row again."""

import os
import sys
from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, new_checkout
from tests.workflow.histories import kill_and_go_on, run_history

pytestmark = pytest.mark.workflow

# `make fuzz-cache` asks for 100 histories and 20 kills.
NUM_HISTORIES = int(os.environ.get("CACHE_HISTORIES", "1"))
NUM_KILLS = int(os.environ.get("CACHE_KILLS", "1"))
# About as long as the first run of the toy takes.
LONGEST_SECONDS = float(os.environ.get("CACHE_KILL_SECONDS", "15"))


@pytest.mark.parametrize("seed", range(NUM_HISTORIES))
def test_a_history_ends_as_a_fresh_build(seed: int, built_checkout: Checkout, tmp_path: Path) -> None:
    # The fresh build by another Python, with another hash seed.
    assert run_history(seed, start=built_checkout, folder=tmp_path, fresh_python=sys.executable).wrong == ()


@pytest.mark.parametrize("seed", range(NUM_KILLS))
def test_a_killed_run_goes_on(seed: int, built_checkout: Checkout, tmp_path: Path) -> None:
    new = new_checkout(tmp_path / "new")
    kill_and_go_on(seed, new=new, built=built_checkout, folder=tmp_path, longest_seconds=LONGEST_SECONDS)
