"""Time, memory, processors and GPUs of jobs, for every shipped configuration, without the engine."""

from pathlib import Path
from typing import Any

import pytest

from moclip.workflow.jobs import Job
from moclip.workflow.plan import Plan
from moclip.workflow.resources import RESOURCES, JobResources
from tests.shipped import SHIPPED
from tests.unit.workflow.test_plan import build_plan, load_config

# Columns of the manifest that signatures read.
HEADER = "video_id\tpath\tclass_name\tclass_index\tgroup\tfingerprint\tshard\tsplit_1\n"


def write_manifest(plan: Plan, *, num_videos: int) -> None:
    path = Path(plan.paths.outputs("manifest")["manifest"])
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"v{i:06d}\tv{i:06d}.avi\tA\t0\tg{i}\t{i:032x}\t{i % len(plan.shards)}\ttrain\n" for i in range(num_videos)
    ]
    path.write_text(HEADER + "".join(lines))


def ask(resources: JobResources, job: Job, *, attempt: int = 1) -> dict[str, int]:
    """Return all that a job asks for."""
    names = (*RESOURCES[job.rule], "threads") if job.rule in RESOURCES else ()
    return {name: resources.ask(job.rule, name, attempt=attempt, **job.wildcards) for name in names}


def plan_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Plan:
    monkeypatch.chdir(folder)
    config = load_config(name)
    for section in ("appearance", "motion_network"):
        config[section] = {key: {**entry, **changes} for key, entry in config[section].items()}
    return build_plan(config, cache_dir=folder)


def total(plan: Plan, *, attempt: int = 1) -> dict[str, int]:
    """Return the sum of each number over all jobs."""
    resources = JobResources(plan, is_local=lambda: False)
    found: dict[str, int] = {}
    for job in plan.jobs:
        for name, number in ask(resources, job, attempt=attempt).items():
            assert isinstance(number, int), f"{job.rule}: {name}"
            found[name] = found.get(name, 0) + number
    return found


# Of config/ucf101_5.yaml with 503 videos in 4 shards: a job, its device and attempt, and its minutes, MB, GPUs and
# processors as far as the rule asks for them.
REQUESTS: tuple[tuple[str, str, int, tuple[int, ...]], ...] = (
    ("motion_shard variant=original shard=0", "cpu", 1, (8, 1252)),
    ("motion_shard variant=original shard=0", "cpu", 2, (16, 5096)),
    ("appearance_shard variant=mobilenetv2-frames-4 shard=0", "cpu", 1, (16, 6252, 0, 1)),
    ("appearance_shard variant=mobilenetv2-frames-4 shard=0", "cuda", 1, (8, 6252, 1, 4)),
    ("appearance_shard variant=mobilenetv2-frames-4 shard=0", "cuda", 2, (16, 12504, 1, 4)),
    ("motion_network variant=tiny split=1 seed=0", "cpu", 1, (126, 8885, 0, 1)),
    ("motion_network variant=tiny split=1 seed=0", "cuda", 1, (18, 8101, 1, 1)),
    ("motion_embedding_shard variant=tiny split=1 seed=0 shard=1", "cpu", 1, (11, 4252, 0, 1)),
    ("motion_embedding_shard variant=tiny split=1 seed=0 shard=1", "cuda", 2, (16, 8504, 1, 1)),
    ("head experiment=moclip-lite split=1", "cpu", 1, (3026,)),
    ("evaluate experiment=moclip-lite split=1 seed=0", "cpu", 2, (6052,)),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda entry: " ".join(map(str, entry[:3])))
def test_a_job_asks_for_what_its_videos_and_model_take(
    request_: tuple[str, str, int, tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, device, attempt, expected = request_
    rule, *named = job.split()
    wildcards = dict(word.split("=") for word in named)
    plan = plan_of("ucf101_5", tmp_path, monkeypatch, device=device)
    write_manifest(plan, num_videos=503)
    resources = JobResources(plan, is_local=lambda: False)
    names = (*RESOURCES[rule], *(["threads"] if "gpu" in RESOURCES[rule] else []))
    assert tuple(resources.ask(rule, name, attempt=attempt, **wildcards) for name in names) == expected


@pytest.mark.parametrize("name", SHIPPED)
def test_every_job_asks_for_whole_numbers_and_twice_as_much_in_the_next_attempt(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(name, tmp_path, monkeypatch)
    before = total(plan)
    write_manifest(plan, num_videos=40 * len(plan.shards))
    first, second = total(plan), total(plan, attempt=2)
    assert first["runtime"] > before["runtime"] > 0
    assert second["runtime"] == 2 * first["runtime"]
    assert second["mem_mb"] >= 2 * first["mem_mb"]
    assert (second["threads"], second["gpu"]) == (first["threads"], first["gpu"])


@pytest.mark.parametrize(("device", "is_local", "expected"), [("cpu", False, 0), ("cuda", True, 1), ("auto", False, 1)])
def test_a_job_of_a_model_asks_for_a_gpu_by_its_device(
    device: str, is_local: bool, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("ucf101_5", tmp_path, monkeypatch, device=device)
    resources = JobResources(plan, is_local=lambda: is_local)
    assert {found["gpu"] for job in plan.jobs if "gpu" in (found := ask(resources, job))} == {expected}


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_on_this_machine_asks_for_a_gpu_if_it_has_one(
    has_gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moclip.workflow.resources.has_gpu", lambda: has_gpu)
    plan = plan_of("ucf101_5", tmp_path, monkeypatch, device="auto")
    resources = JobResources(plan, is_local=lambda: True)
    assert {found["gpu"] for job in plan.jobs if "gpu" in (found := ask(resources, job))} == {int(has_gpu)}


def test_a_retried_decoder_has_room_for_what_one_video_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("ucf101_5", tmp_path, monkeypatch)
    resources = JobResources(plan, is_local=lambda: False)
    first, second = (
        resources.ask("motion_shard", "mem_mb", attempt=attempt, variant="original", shard="0") for attempt in (1, 2)
    )
    assert second == first + plan.settings.dataset.limits.memory_mb


def test_every_rule_with_resources_is_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(RESOURCES) <= {job.rule for name in SHIPPED for job in plan_of(name, tmp_path, monkeypatch).jobs}
