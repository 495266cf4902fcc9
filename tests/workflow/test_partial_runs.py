"""Runs of a part of the graph, which Snakemake ends early with exit 0, are refused in one line or run to their end."""

import pytest

from tests.workflow.checkout import Checkout

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    "arguments",
    [
        ["--until", "motion_index"],
        ["--until=motion_index"],
        ["--unti", "motion_index"],
        ["-U", "motion_index"],
        ["-Umotion_index"],
        ["--omit-from", "evaluate"],
        ["-O", "evaluate"],
        ["--batch", "all=1/2"],
    ],
    ids=" ".join,
)
def test_a_run_of_a_part_of_the_graph_is_refused(arguments: list[str], built_checkout: Checkout) -> None:
    ran = built_checkout.run(*arguments, check=False, keep_logs=True).ran
    assert ran.code == 2, ran.output[-800:]
    assert "name the files" in ran.output or "name them instead" in ran.output
