"""`moclip plan` lists the jobs that the next run then starts, for changes of every kind.

The project has 5 experiments, 2 splits, 2 seeds, 3 shards and 2 bad videos. Every line of the change table checks its
plan as well (`changes.try_change`), so that only a few kinds run with all tests, and all with CHANGES=all.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.workflow import edits as e
from tests.workflow.changes import CHANGES
from tests.workflow.checkout import Checkout

pytestmark = pytest.mark.workflow

EDITS = {change.name: change.steps[0].edit for change in CHANGES} | {
    "a video removed": e.remove_video(18),
    "an unreadable video removed": e.remove_video(4),
    "a new experiment that shares features": e.add_entry(
        "experiments", "wide", like="probe", methods=["appearance"], head="mlp"
    ),
}
# Changes whose jobs are known in advance, since nothing that they compute decides about other jobs.
CERTAIN = (
    "nothing",
    "report.mistakes",
    "a motion variant renamed",
    "a video that no list names added",
    "an experiment removed",
    "the report deleted",
)
# Changes that train or decode first. Weights and features may come out as they were, and then less is started.
ABOUT = (
    "a video added to train",
    "a video added to test",
    "a video renamed",
    "a video removed",
    "an unreadable video removed",
    "motion.source",
    "a seed that no experiment has",
    "head.learning_rate",
    "a new experiment that shares features",
)
# A training without a video that has no motion gives an equal network, so that no embedding is computed after all.
EQUAL_NETWORKS = {"an unreadable video removed"}
# The stand-in of the motion network draws one learning curve for all trainings.
EQUAL_OF_STAND_INS = {"motion_network_curve"}


SHORT = (
    "an experiment removed",
    "a video added to train",
    "an unreadable video removed",
    "a new experiment that shares features",
)
TRIED = [*CERTAIN, *ABOUT] if os.environ.get("CHANGES") == "all" else SHORT


@pytest.mark.parametrize("name", TRIED)
def test_the_plan_lists_the_jobs_that_the_run_starts(name: str, built_checkout: Checkout, tmp_path: Path) -> None:
    checkout = built_checkout.copy(tmp_path / "checkout")
    EDITS[name](checkout)
    planned = checkout.plan()
    work = checkout.run()
    assert not planned.compare(work), planned.output
    made = Counter({f"{rows.split('/')[0]}_shard": 0 for rows in work.rows})
    for rows, ids in work.rows.items():
        made[f"{rows.split('/')[0]}_shard"] += len(ids)
    made += Counter({"motion_network": work.networks, "head": work.heads, "text": work.texts})
    if name in EQUAL_NETWORKS:
        assert all(number <= planned.made.get(rule, 0) for rule, number in made.items()), planned.output
    else:
        assert planned.made == {rule: number for rule, number in made.items() if number}, planned.output
    if name in CERTAIN:
        assert planned.least == planned.most == work.jobs, planned.output
    else:
        surplus = (planned.most - work.jobs).keys()
        assert name in EQUAL_NETWORKS or surplus <= EQUAL_OF_STAND_INS, planned.output
