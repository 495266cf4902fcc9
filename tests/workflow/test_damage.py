"""Damaged results and caches: the next run makes each file again, equal to that of a fresh build.

Damage is either an edit, which changes the times of a file, or hidden: the disk changed a bit, and the times are those
of the record. FAULTS=all tries each kind of file in turn, else all kinds are damaged at once.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from moclip.config.validation import check_config
from moclip.core.digests import stat_version
from moclip.core.records import read_record, store_record
from moclip.workflow.jobs import Job
from moclip.workflow.paths import RULES
from moclip.workflow.plan import Plan
from tests.workflow.checkout import Checkout
from tests.workflow.conftest import Ran
from tests.workflow.fresh import check_step, compare

pytestmark = pytest.mark.workflow

ALL = os.environ.get("FAULTS") == "all"
# Each rule of the project, and each kind of file in the cache. The project renders no videos and joins no groups.
KINDS = sorted(RULES - {"demo_dataset", "videos", "figure"})
CACHED = ("networks/*/*", "heads/*.safetensors", "class_embeddings/*/*", "predictions/*/*", "motion/*/*.h5")


@pytest.fixture
def checkout(built_checkout: Checkout, tmp_path: Path) -> Checkout:
    return built_checkout.copy(tmp_path / "checkout")


def list_jobs(checkout: Checkout) -> dict[str, Job]:
    """Return one job of each rule."""
    return {job.rule: job for job in reversed(Plan(check_config(checkout.config)).jobs)}


def flip(path: Path, *, at: float = 0.6) -> Path:
    """Flip one bit of a file in place, so that all its links show it."""
    data = bytearray(path.read_bytes())
    data[min(int(at * len(data)), len(data) - 1)] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    return path


def flip_hidden(checkout: Checkout, job: Job, *, file: str, at: float = 0.6) -> None:
    """Flip one bit of an output whose record has its present times, as if the disk had changed the bit."""
    status = (checkout.project / file).stat()
    flip(checkout.project / file, at=at)
    os.utime(checkout.project / file, ns=(status.st_atime_ns, status.st_mtime_ns))
    first = [str(checkout.project / job.files[0])]
    record = read_record(first)
    assert record is not None
    record["outputs"][file][1:] = stat_version(checkout.project / file)
    store_record(first, record)


def list_damage(checkout: Checkout, rule: str) -> Iterator[Path]:
    yield from (checkout.project / file for file in list_jobs(checkout)[rule].files)


def ask(checkout: Checkout, *arguments: str) -> Ran:
    checkout.write_config()
    return checkout.moclip(*arguments, "--configfile", "config.yaml")


@pytest.mark.parametrize("rules", [[rule] for rule in KINDS] if ALL else [KINDS], ids=lambda rules: rules[0])
def test_an_edited_result_of_any_kind_is_made_again_by_the_next_run(checkout: Checkout, rules: list[str]) -> None:
    damaged = [flip(path) for rule in rules for path in list_damage(checkout, rule)]
    found = ask(checkout, "verify")
    assert found.code == 1
    for path in damaged:
        assert f"damaged: {path.relative_to(checkout.project)}" in found.output
    check_step(checkout)
    assert ask(checkout, "verify").output.endswith("all in order\n")


def test_a_damaged_cache_is_reported_fixed_and_never_served(checkout: Checkout) -> None:
    cache = checkout.project / "results/.cache"
    damaged = [flip(sorted(cache.glob(pattern))[0]) for pattern in CACHED]
    found = ask(checkout, "verify")
    assert found.code == 1
    for path in damaged:
        name = path.relative_to(checkout.project)
        reported = any(f"damaged: {part}" in found.output for part in (name, name.parent))
        assert reported or path.suffix == ".h5", name
    assert ask(checkout, "verify", "--fix").code == 0
    assert "damaged:" not in ask(checkout, "verify").output
    check_step(checkout)
    # Everything that the results are made from again comes from the cache, which must hold no damaged part.
    for name in ("experiments", "motion_network", "text"):
        for path in (checkout.results / name).rglob("*"):
            path.unlink() if path.is_file() else None
    check_step(checkout)


@pytest.mark.parametrize("stage", ["motion", "appearance", "motion_embedding"])
def test_a_hidden_flip_in_a_shard_is_found_when_its_index_is_built(checkout: Checkout, stage: str) -> None:
    jobs = list_jobs(checkout)
    job, index = jobs[f"{stage}_shard"], checkout.project / jobs[f"{stage}_index"].files[0]
    flip_hidden(checkout, job, file=job.files[0])
    assert checkout.run().jobs == {}, "a run with nothing to do reads no shard"
    found = ask(checkout, "verify").output
    assert f"damaged: {job.files[0]}" in found
    index.unlink()
    work = check_step(checkout)
    assert work.jobs == {f"{stage}_index": 1}
    assert f"{job.files[0]}: " in work.ran.output
    assert "its sound rows are kept, and the others computed again" in work.ran.output
    assert ask(checkout, "verify").output.endswith("all in order\n")


READERS = {
    "motion_network": ("motion_embedding_index", "index"),
    "head": ("evaluate", "predictions"),
}


@pytest.mark.parametrize("rule", READERS if ALL else ["head"])
def test_a_hidden_flip_stops_its_reader_and_the_next_run_makes_the_file_again(checkout: Checkout, rule: str) -> None:
    jobs = list_jobs(checkout)
    reader, output = READERS[rule]
    source = next(s.job for name in jobs[reader].inputs for s in jobs[reader].sources(name) if s.job.rule == rule)
    flip_hidden(checkout, source, file=source.files[0])
    (checkout.project / jobs[reader].outputs[output]).unlink()
    stopped = checkout.run(check=False).ran
    assert stopped.code == 1
    assert f"error: {source.files[0]}: damaged since it was made; run again, which makes it again" in stopped.output
    assert "internal error" not in stopped.output
    check_step(checkout)


def test_a_hidden_flip_in_the_manifest_an_index_or_a_table_is_found_by_every_run(checkout: Checkout) -> None:
    for rule in ("manifest", "motion_index", "motion_embedding_index", "evaluate", "summary"):
        job = list_jobs(checkout)[rule]
        flip_hidden(checkout, job, file=job.files[0])
    work = check_step(checkout)
    assert {"manifest", "motion_index", "motion_embedding_index", "evaluate", "summary"} <= work.jobs.keys()
    assert work.jobs["evaluate"] == 1


def test_a_cut_index_is_reported_and_built_again_without_being_asked(checkout: Checkout) -> None:
    path = checkout.results / "appearance/clip/index.json"
    path.write_bytes(path.read_bytes()[:100])
    found = ask(checkout, "verify")
    assert found.code == 1
    assert "damaged: results/toy/appearance/clip/index.json: edited or damaged" in found.output
    assert check_step(checkout).jobs == {"appearance_index": 1}


def test_verify_fix_alone_and_a_run_restore_a_fresh_build(checkout: Checkout) -> None:
    job = list_jobs(checkout)["appearance_shard"]
    for rule in ("appearance_shard", "head"):
        damaged = list_jobs(checkout)[rule]
        # The last byte is one of a tensor: the engine reads the header of heads.
        flip_hidden(checkout, damaged, file=damaged.files[0], at=1.0 if rule != "appearance_shard" else 0.6)
    assert checkout.run().jobs == {}
    fixed = ask(checkout, "verify", "--fix")
    assert f"{job.files[0]}: removed; the next run makes it again from the cache" in fixed.output
    checkout.run()
    assert compare(checkout) == ()
    assert ask(checkout, "verify").code == 0
