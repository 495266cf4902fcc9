"""Whatever happens to a project, each run leaves the files of a fresh build and computes no finished row again."""

from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, new_checkout
from tests.workflow.histories import kill_and_resume, run_history

pytestmark = pytest.mark.workflow

# `make fuzz-cache` runs many of both.
HISTORY_SEED, KILL_SEED = 59, 0


def test_every_run_of_a_history_leaves_the_files_of_a_fresh_build(built_checkout: Checkout, tmp_path: Path) -> None:
    lived = run_history(HISTORY_SEED, start=built_checkout, folder=tmp_path)
    assert lived.wrong == (), lived.steps


def test_a_killed_run_resumes_and_computes_no_finished_row_again(
    built_checkout: Checkout, tmp_path: Path, warm: Path
) -> None:
    new = new_checkout(tmp_path / "new", python=warm)
    kill_and_resume(KILL_SEED, new=new, built=built_checkout, folder=tmp_path)
