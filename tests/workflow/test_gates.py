"""The jobs of the real workflow: each has every checkpoint above it as a direct input."""

import re
import subprocess

import pytest

from tests.workflow.checkout import Checkout

pytestmark = pytest.mark.workflow

_NODE = re.compile(r'^\s*(\d+)\[label = "([^"]*)"', flags=re.MULTILINE)
_EDGE = re.compile(r"^\s*(\d+) -> (\d+)", flags=re.MULTILINE)
_SEED = re.compile(r"seed: (\d+)")
_SEEDED = {"motion_network", "motion_network_curve", "motion_embedding_shard", "motion_embedding_index", "evaluate"}
_CHECKPOINT = re.compile(r"^(?:local)?checkpoint (\w+):", flags=re.MULTILINE)


def ask(checkout: Checkout, *arguments: str) -> str:
    done = subprocess.run(
        checkout.command(*arguments),
        cwd=checkout.project,
        env=checkout.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return done.stdout + done.stderr if "--dry-run" in arguments else done.stdout


def test_every_checkpoint_above_a_job_is_its_direct_input(built_checkout: Checkout) -> None:
    checkpoints = set(_CHECKPOINT.findall(ask(built_checkout, "--dry-run", "--forceall")))
    graph = ask(built_checkout, "--dag", "dot", "--forceall")
    labels = dict(_NODE.findall(graph))
    rules = {job: label.split("\\n")[0] for job, label in labels.items()}
    direct: dict[str, set[str]] = {job: set() for job in labels}
    for above, job in _EDGE.findall(graph):
        direct[job].add(above)
    assert len(labels) > 60
    assert checkpoints & set(rules.values()) >= {"manifest", "motion_index", "appearance_index"}

    def find_above(job: str) -> set[str]:
        return direct[job].union(*(find_above(above) for above in direct[job]))

    def find_seeds(job: str) -> set[str]:
        # A label has the wildcards that no job above has.
        own = set(_SEED.findall(labels[job]))
        return own if own or rules[job] not in _SEEDED else set().union(*(find_seeds(above) for above in direct[job]))

    assert all(len(find_seeds(job)) == (rules[job] in _SEEDED) for job in labels)
    lacking = {
        f"{labels[job]} lacks {labels[above]}".replace("\\n", " ")
        for job in labels
        for above in find_above(job) - direct[job]
        # The test of one seed reads nothing that follows from another seed.
        if rules[above] in checkpoints and len(find_seeds(job) | find_seeds(above)) < 2
    }
    assert not lacking, "\n".join([f"{len(lacking)} checkpoints are no direct input:", *sorted(lacking)[:20]])
