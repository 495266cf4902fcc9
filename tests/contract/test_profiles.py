"""The profiles: what they name exists, what both need is in both, and the manual explains every line."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from moclip.workflow.resources import RESOURCES

SHARED = ("rerun-triggers", "rerun-incomplete", "keep-going", "scheduler", "printshellcmds", "show-failed-logs")


def load_profile(repository: Path, name: str) -> dict[str, Any]:
    profile: dict[str, Any] = yaml.safe_load((repository / "workflow/profiles" / name / "config.yaml").read_text())
    return profile


@pytest.fixture
def slurm(repository: Path) -> dict[str, Any]:
    return load_profile(repository, "slurm")


@pytest.fixture
def rules(repository: Path) -> dict[str, str]:
    """The text of every rule, by name."""
    text = "\n".join(path.read_text() for path in sorted((repository / "workflow/rules").glob("*.smk")))
    parts = re.split(r"^ *(?:rule|checkpoint) (\w+):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_both_profiles_decide_alike_what_is_out_of_date(repository: Path, slurm: dict[str, Any]) -> None:
    default = load_profile(repository, "default")
    assert {key: slurm[key] for key in SHARED} == {key: default[key] for key in SHARED}


def test_a_rule_that_wants_a_gpu_says_how_much_time_and_memory_or_takes_the_default(
    slurm: dict[str, Any], rules: dict[str, str]
) -> None:
    assert all("attempt" in str(slurm["default-resources"][key]) for key in ("runtime", "mem_mb"))
    wanting = {rule for rule, names in RESOURCES.items() if "gpu" in names}
    assert wanting == {"appearance_shard", "text", "motion_network", "motion_embedding_shard"}
    assert all("mem_mb" in RESOURCES[rule] for rule in wanting)


def test_every_rule_with_requests_asks_for_them(rules: dict[str, str]) -> None:
    asking = {name for name, text in rules.items() if f'**asks("{name}")' in text}
    assert asking == set(RESOURCES)
    # Those that render or compute in several threads, or load their input in some.
    assert {name for name, text in rules.items() if f'threads_of("{name}")' in text} == {
        "demo_dataset",
        "appearance_shard",
        "motion_network",
        "motion_embedding_shard",
    }


def test_the_gpu_of_one_machine_is_for_one_job_and_those_of_a_cluster_for_all(
    repository: Path, slurm: dict[str, Any]
) -> None:
    assert load_profile(repository, "default")["resources"] == {"gpu": 1}
    assert "gpu" not in slurm["resources"]


def test_the_manual_explains_every_line_of_the_profile(repository: Path, slurm: dict[str, Any]) -> None:
    manual = (repository / "docs/cluster.md").read_text()
    explained = set(slurm) - set(SHARED)
    assert not [key for key in explained if f"`{key}" not in manual and f"{key}:" not in manual]
