"""Time, memory, processors and GPUs of jobs, for every shipped configuration, without the engine."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moclip.workflow.jobs import Job
from moclip.workflow.plan import Plan
from moclip.workflow.resources import JobResources
from tests.unit.workflow.test_plan import CONFIGS, build_plan, load_config

# Columns of the manifest that signatures read.
HEADER = "video_id\tpath\tclass_name\tclass_index\tgroup\tfingerprint\tshard\tsplit_1\n"


def write_manifest(plan: Plan, *, num_videos: int) -> None:
    path = Path(plan.paths.outputs("manifest")["manifest"])
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"v{i:06d}\tv{i:06d}.avi\tA\t0\tg{i}\t{i:032x}\t{i % len(plan.shards)}\ttrain\n" for i in range(num_videos)
    ]
    path.write_text(HEADER + "".join(lines))


def ask(resources: JobResources, job: Job, *, attempt: int = 1) -> dict[str, float]:
    """Return what the rule files ask for a job."""
    wildcards: Any = SimpleNamespace(**job.wildcards)
    variant, shard = job.wildcards.get("variant", ""), job.wildcards.get("shard", "")
    asked: Mapping[str, Any] = {
        "motion_shard": lambda: {
            "minutes": resources.minutes(resources.motion_seconds(wildcards), attempt),
            "mb": resources.decoding_mb(2000, attempt, each=2, shard=shard),
        },
        "appearance_shard": lambda: {
            "minutes": resources.minutes(resources.appearance_seconds(wildcards), attempt),
            "mb": resources.decoding_mb(6000, attempt, each=2, shard=shard),
            "threads": resources.encoder_threads(variant),
            "gpus": resources.encoder_gpus(variant),
        },
        "motion_network": lambda: {
            "minutes": resources.minutes(resources.training_seconds(wildcards), attempt),
            "mb": resources.mem_mb(6000 + resources.batch_mb(wildcards), attempt, each=2),
            "threads": resources.network_threads(variant),
            "gpus": resources.network_gpus(variant),
        },
        "motion_embedding_shard": lambda: {
            "minutes": resources.minutes(resources.embedding_seconds(wildcards), attempt),
            "mb": resources.embedding_mb(6000, attempt, each=2, shard=shard),
            "gpus": resources.network_gpus(variant),
        },
        "text": lambda: {"mb": resources.mem_mb(6000, attempt), "gpus": resources.text_gpus(variant)},
    }
    return asked[job.rule]() if job.rule in asked else {}


def plan_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Plan:
    monkeypatch.chdir(folder)
    config = load_config(name)
    for section in ("appearance", "motion_network"):
        config[section] = {key: {**entry, **changes} for key, entry in config[section].items()}
    return build_plan(config, cache_dir=folder)


def total(plan: Plan, *, attempt: int = 1, is_local: bool = False) -> dict[str, float]:
    """Return the sum of each number over all jobs."""
    resources = JobResources(plan, is_local=lambda: is_local)
    found: dict[str, float] = {}
    for job in plan.jobs:
        for name, number in ask(resources, job, attempt=attempt).items():
            assert number == int(number) >= 0, f"{job.rule}: {name}"
            found[name] = found.get(name, 0) + number
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_every_job_asks_for_whole_numbers_and_twice_as_much_in_the_next_attempt(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(name, tmp_path, monkeypatch)
    before = total(plan)
    write_manifest(plan, num_videos=40 * len(plan.shards))
    first, second = total(plan), total(plan, attempt=2)
    assert first["minutes"] > before["minutes"] > 0
    assert second["minutes"] == 2 * first["minutes"]
    assert second["mb"] >= 2 * first["mb"]
    assert (second["threads"], second["gpus"]) == (first["threads"], first["gpus"])


@pytest.mark.parametrize(("device", "is_local", "expected"), [("cpu", False, 0), ("cuda", True, 1), ("auto", False, 1)])
def test_a_job_of_a_model_asks_for_a_gpu_by_its_device(
    device: str, is_local: bool, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("ucf101_5", tmp_path, monkeypatch, device=device)
    resources = JobResources(plan, is_local=lambda: is_local)
    asked = [ask(resources, job) for job in plan.jobs]
    assert {found["gpus"] for found in asked if "gpus" in found} == {expected}


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_on_this_machine_asks_for_a_gpu_if_it_has_one(
    has_gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moclip.workflow.resources.has_gpu", lambda: has_gpu)
    plan = plan_of("ucf101_5", tmp_path, monkeypatch, device="auto")
    resources = JobResources(plan, is_local=lambda: True)
    assert {found["gpus"] for job in plan.jobs if "gpus" in (found := ask(resources, job))} == {int(has_gpu)}


def test_a_retried_decoder_has_room_for_what_one_video_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("ucf101_5", tmp_path, monkeypatch)
    limit = plan.config["dataset"]["limits"]["memory_mb"]
    resources = JobResources(plan, is_local=lambda: False)
    assert resources.decoding_mb(100, 1, each=0, shard="0") == 100
    assert resources.decoding_mb(100, 2, each=0, shard="0") == 100 + limit
