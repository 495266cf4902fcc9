"""The change table: each change costs exactly the jobs and the rows that it must (docs/caching.md)."""

from pathlib import Path

import pytest

from moclip.manifest import read_manifest
from tests.workflow.changes import ALL, CHANGES, Change, format_table
from tests.workflow.checkout import Checkout

pytestmark = pytest.mark.workflow


def expected_rows(change: Change, *, checkout: Checkout) -> dict[str, tuple[str, ...]]:
    ids = tuple(sorted(read_manifest(checkout.results / "manifest.tsv")["video_id"]))
    return {stage: ids if rows == ALL else rows for stage, rows in change.rows.items()}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name.replace(" ", "_"))
def test_a_change_costs_its_jobs_and_its_rows(change: Change, built_checkout: Checkout, tmp_path: Path) -> None:
    checkout = built_checkout.copy(tmp_path / "checkout")
    change.apply(checkout)
    work = checkout.run(cores=change.cores)
    expected = (dict(change.jobs), expected_rows(change, checkout=checkout))
    assert (dict(work.jobs), work.rows) == expected


def test_the_table_has_its_changes() -> None:
    names = [change.name for change in CHANGES]
    assert len(set(names)) == len(names) >= 25


def test_the_page_shows_the_table(repository: Path) -> None:
    page = (repository / "docs/caching.md").read_text()
    assert format_table() in page, "put what `python -m tests.workflow.changes` prints into docs/caching.md"
