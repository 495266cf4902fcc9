"""The change table: each change costs exactly its jobs, rows, networks and heads (docs/caching.md).

A sample of its lines runs with all tests, every line with CHANGES=all, and with CHANGES=2/3 the second third of them.
"""

import os
from pathlib import Path

import pytest

from tests.workflow.changes import CHANGES, SAMPLE, Change, check_change, format_table
from tests.workflow.checkout import Checkout
from tests.workflow.fresh import check_step

pytestmark = pytest.mark.workflow


def choose(wanted: str) -> tuple[Change, ...]:
    if not wanted:
        return SAMPLE
    part, _, parts = ("1/1" if wanted == "all" else wanted).partition("/")
    return CHANGES[int(part) - 1 :: int(parts)]


TRIED = choose(os.environ.get("CHANGES", ""))


@pytest.mark.parametrize("change", TRIED, ids=lambda change: change.name.replace(" ", "_"))
def test_a_change_costs_its_jobs_rows_networks_and_heads(
    change: Change, built_checkout: Checkout, tmp_path: Path
) -> None:
    check_change(change, checkout=built_checkout.copy(tmp_path / "checkout"))


def test_the_first_run_computes_everything_once(built_checkout: Checkout, tmp_path: Path) -> None:
    checkout = built_checkout.copy(tmp_path / "checkout")
    for name in ("results", ".snakemake"):
        checkout.project.joinpath(name).rename(tmp_path / name)
    planned = checkout.plan()
    work = check_step(checkout)
    assert planned.least == planned.most == work.jobs
    rows = {"motion_shard": 24, "appearance_shard": 48, "motion_embedding_shard": 96}
    assert planned.made == {**rows, "motion_network": 4, "head": 18, "text": 2}
    assert "24 videos (24 with new content), frames not known before the first decode" in planned.output
    assert {name: len(set(ids)) for name, ids in work.rows.items()} == dict.fromkeys(work.rows, 24)
    assert (len(work.rows), work.networks, work.heads, work.texts) == (7, 4, 18, 2)


def test_the_table_has_seventy_changes_and_more() -> None:
    names = [change.name for change in CHANGES]
    assert len(set(names)) == len(names) >= 70


def test_the_page_shows_the_table(repository: Path) -> None:
    page = (repository / "docs/caching.md").read_text()
    assert format_table() in page, "put the output of `python -m tests.workflow.changes` into docs/caching.md"
