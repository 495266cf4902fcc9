"""Faults around a whole run: videos that are rejected, damaged shards, a run that was killed, two runs at once."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from moclip.config.settings import MotionVariant
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion import extract_motion_shard
from tests.workflow.conftest import REPOSITORY, Project, toy_config, write_toy_videos

pytestmark = pytest.mark.workflow

MOTION = "results/toy/motion/original/index.json"


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, dialect="excel-tab", quoting=csv.QUOTE_NONE))


def list_contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of the results, but for what tells times and hosts."""
    skipped = {"run.yaml", "costs.tsv", "costs.pdf", "costs.png", "report.html"}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in skipped)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def test_no_metric_changes_for_a_rejected_video_without_the_tables_saying_so(project: Project) -> None:
    rows = read_table(project.results() / "manifest.tsv")
    test, train = (next(row for row in rows if row["split_1"] == subset) for subset in ("test", "train"))
    before = json.loads(next(project.results().rglob("metrics.json")).read_text())["methods"]["fusion"]
    for row in (test, train):
        (project.folder / "videos" / row["path"]).write_bytes(b"no video at all")
    project.run()
    rejects = {(row["video_id"], row["stage"]): row["reason"] for row in read_table(project.results() / "rejects.tsv")}
    for row in (test, train):
        assert rejects[row["video_id"], "motion"] == rejects[row["video_id"], "appearance"] == "unreadable"
    assert {video_id for video_id, _ in rejects} == {test["video_id"], train["video_id"]}
    run = next(project.results().rglob("metrics.json"))
    metrics = json.loads(run.read_text())
    fusion = metrics["methods"]["fusion"]
    # The denominator is that of all test videos, and what is missing stands beside it.
    assert (fusion["n"], fusion["num_scored"]) == (before["n"], before["n"] - 1)
    predicted = {row["video_id"]: row for row in read_table(run.with_name("predictions.tsv"))}
    assert predicted[test["video_id"]]["status"] == "unreadable"
    assert len(predicted) == before["n"]
    right = sum(row["fusion"] == row["class_name"] for row in predicted.values())
    assert fusion["top_1"] == pytest.approx(right / before["n"])
    for row in read_table(project.results() / "summary.tsv"):
        assert float(row["coverage"]) == pytest.approx((before["n"] - 1) / before["n"]), row
        assert int(float(row["n"])) == before["n"], row
    report = (project.results() / "report.html").read_text()
    for row in (test, train):
        assert row["video_id"] in report, "the report does not name a rejected video"
    assert "unreadable" in report


@pytest.fixture
def begun(tmp_path: Path) -> Project:
    """A new project with videos alone."""
    write_toy_videos(tmp_path / "project/videos", num_per_class=4)
    return Project(folder=tmp_path / "project", config=toy_config())


def start(project: Project) -> "subprocess.Popen[str]":
    """Start the motion stage and return once its jobs run."""
    (project.folder / "config.yaml").write_text(yaml.safe_dump(project.config))
    command = [sys.executable, "-m", "snakemake", MOTION, "--cores", "2", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--workflow-profile", str(REPOSITORY / "workflow/profiles/default"), "--configfile", "config.yaml"]
    log = (project.folder / "first.log").open("w")
    process = subprocess.Popen(
        command, cwd=project.folder, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while "rule motion_shard" not in (project.folder / "first.log").read_text():
        assert process.poll() is None, (project.folder / "first.log").read_text()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def test_a_second_run_is_told_who_runs_and_a_killed_one_is_told_how_to_go_on(begun: Project) -> None:
    process = start(begun)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        second = begun.run("--", MOTION, check=False)
        assert second.code == 1
        assert f"locked by process {process.pid}, which still runs: wait for it" in second.output
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    third = begun.run("--", MOTION, check=False)
    assert third.code == 1
    assert (
        f"locked by process {process.pid}, which was killed: give the same command once with `--unlock`" in third.output
    )
    begun.run("--unlock")
    begun.run("--", MOTION)
    results = begun.folder / "results/toy"
    for shard in range(2):
        expected = begun.folder / f"expected-{shard}.h5"
        job = ShardJob(
            dataset="toy",
            root=begun.folder / "videos",
            shard=shard,
            num_shards=2,
            output=expected,
            cache_dir=begun.folder / "another-cache",
        )
        extract_motion_shard(job, manifest=results / "manifest.tsv", variant=MotionVariant())
        assert (results / f"motion/original/shard-{shard}.h5").read_bytes() == expected.read_bytes()
