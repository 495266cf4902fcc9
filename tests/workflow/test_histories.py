"""Whatever happened to a project, its next run leaves what a fresh build leaves, and computes no finished row again."""

from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, new_checkout
from tests.workflow.histories import kill_and_go_on, run_history
from tests.workflow.warm import warm_python

pytestmark = pytest.mark.workflow

# `make fuzz-cache` does many of both.
HISTORY_SEED, KILL_SEED = 59, 0
# About as long as the first run of the toy takes.
LONGEST_SECONDS = 10.0


def test_a_history_ends_as_a_fresh_build(built_checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    # The fresh build by another Python, which orders sets in another way.
    with warm_python(tmp_path / "other", hash_seed=2) as other:
        lived = run_history(HISTORY_SEED, start=built_checkout, folder=tmp_path, fresh_python=str(other))
    assert lived.wrong == (), lived.steps


def test_a_killed_run_goes_on(built_checkout: Checkout, tmp_path: Path, warm: Path) -> None:
    new = new_checkout(tmp_path / "new", python=warm)
    kill_and_go_on(KILL_SEED, new=new, built=built_checkout, folder=tmp_path, longest_seconds=LONGEST_SECONDS)
