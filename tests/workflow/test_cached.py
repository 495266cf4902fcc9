"""Nothing is computed twice, and nothing stale is read, with the real models; `changes` has what each change reruns."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from moclip.core.files import read_tsv
from moclip.report.mistakes import read_mistakes
from tests.workflow.conftest import Project, write_square

pytestmark = pytest.mark.workflow

ABOVE_RUNS = ("summary", "comparisons", "costs", "report")


def test_a_second_run_does_nothing(project: Project) -> None:
    ran = project.run()
    assert ran.jobs == Counter()
    assert "Nothing to be done" in ran.output


def test_one_experiment_more_trains_its_heads_and_tests_no_other_run_again(project: Project) -> None:
    project.config["head"]["linear"] = {"kind": "linear", "epochs": 3}
    first = project.config["experiments"]["fusion"]
    project.config["experiments"]["probe"] = {**first, "matrix": {"head": ["linear", "mlp"]}}
    ran = project.run().jobs
    assert set(ran) == {"head", "evaluate", *ABOVE_RUNS}
    assert (ran["head"], ran["evaluate"]) == (2, 2)
    logs = [project.folder / f"logs/toy/experiments/probe-{name}/split-1/head.log" for name in ("linear", "mlp")]
    linear, mlp = (log.read_text() for log in logs)
    # Two heads of the new kind. The ridge baselines and the heads of `probe-mlp` are those of the run that was there.
    assert "2 heads trained, 2 taken from the cache" in linear
    assert "0 heads trained, 4 taken from the cache" in mlp
    project.config["head"]["linear"]["learning_rate"] = 0.01
    ran = project.run().jobs
    assert (ran["head"], ran["evaluate"]) == (1, 1)


def test_variants_whose_names_differ_in_a_sign_alone_are_trained_apart(project: Project) -> None:
    clip = project.config["appearance"]["clip"]
    project.config["appearance"] |= {"a-b": clip, "a_b": clip}
    for name, variant in (("dash", "a-b"), ("line", "a_b")):
        entry = {"appearance": variant, "head": "mlp", "methods": ["appearance"], "splits": [1], "seeds": [0]}
        project.config["experiments"][name] = entry
    planned = project.run("--dry-run").output
    assert all(f"experiments/{name}/split-1/heads.safetensors" in planned for name in ("dash", "line"))


def test_going_back_to_an_earlier_parameter_computes_no_row(project: Project) -> None:
    segments = project.config["motion_network"]["tiny"]["embedding"]
    segments["num_segments"] = 1
    project.run()
    assert project.computed("motion_embedding") > 0
    segments["num_segments"] = 2
    assert "motion_embedding_shard" in project.run().jobs
    assert project.computed("motion_embedding") == 0


def test_results_that_are_made_again_from_the_cache_keep_their_costs(project: Project) -> None:
    costs = project.folder / "results/toy/costs.tsv"
    before = read_tsv(costs)
    timed = [name for name in before[0] if name.endswith(("_processor_ms", "_wall_ms"))]
    assert len(timed) == 6
    fusion = next(row for row in before if row["method"] == "fusion")
    assert all(float(fusion[name]) > 0 for name in timed)
    shutil.rmtree(project.folder / "results/toy")
    project.run()
    assert project.computed("motion") == project.computed("appearance") == project.computed("motion_embedding") == 0
    assert read_tsv(costs) == before


def test_a_new_video_costs_one_decode_and_one_embedding(project: Project) -> None:
    write_square(project.folder / "videos/MovingDown/v9.avi", step_px=(0, 3), seed=9)
    for log in [*project.logs("motion"), *project.logs("appearance")]:
        log.unlink()
    ran = project.run()
    assert ran.jobs["motion_shard"] == ran.jobs["appearance_shard"] == 1
    assert (project.computed("motion"), project.computed("appearance")) == (1, 1)


def test_a_broken_video_is_listed_and_counts_as_wrong(project: Project) -> None:
    frame = (project.results() / "manifest.tsv").read_text().splitlines()
    header = frame[0].split("\t")
    rows = [dict(zip(header, line.split("\t"), strict=True)) for line in frame[1:]]
    victim = next(row for row in rows if row["split_1"] == "test")
    (project.folder / "videos" / victim["path"]).write_bytes(b"no video at all")
    project.run()
    rejects = (project.results() / "rejects.tsv").read_text()
    assert f"{victim['video_id']}\tmotion\toriginal\tunreadable" in rejects
    assert "FFmpeg cannot open the file" in (project.results() / "datacard.html").read_text()
    metrics = json.loads(next(project.results().rglob("metrics.json")).read_text())
    fusion = metrics["methods"]["fusion"]
    assert (fusion["n"], fusion["num_scored"]) == (4, 3)


def test_the_number_of_pictures_reruns_the_pages_that_show_them(project: Project) -> None:
    page = project.results() / "motion_pictures/tiny.html"
    lines = (project.results() / "manifest.tsv").read_text().splitlines()
    num_training = sum(line.split("\t")[-1] == "train" for line in lines)
    assert page.read_text().count("<section><h2>") == num_training == 10
    assert "motion_pictures/tiny.html" in (project.results() / "report.html").read_text()
    project.config["report"] = {"pictures": 2}
    assert set(project.run().jobs) == {"motion_pictures", "report"}
    assert page.read_text().count("<section><h2>") == 2
    project.config["report"] = {"pictures": 0}
    assert set(project.run().jobs) == {"report"}
    assert "motion_pictures" not in (project.results() / "report.html").read_text().split("</header>")[0]


def test_the_number_of_mistakes_reruns_what_shows_them(project: Project) -> None:
    mistakes = read_mistakes(project.results() / "mistakes.json")
    page = (project.results() / "report.html").read_text()
    assert page.count("with its block vectors") == len(mistakes["shown"]) == mistakes["num_wrong"] > 0
    assert all(mistake["picture"] and not mistake["note"] for mistake in mistakes["shown"])
    project.config["report"] = {"mistakes": 1}
    assert set(project.run().jobs) == {"mistakes", "report"}
    assert len(read_mistakes(project.results() / "mistakes.json")["shown"]) == 1
    project.config["report"] = {"mistakes": 0}
    assert set(project.run().jobs) == {"report"}
    assert "Mistakes" not in (project.results() / "report.html").read_text()


def test_a_shard_in_place_of_another_is_made_again_from_the_cache(project: Project) -> None:
    shard = project.results() / "motion/original/shard-0.h5"
    other = project.results() / "motion/original/shard-1.h5"
    before = shard.read_bytes()
    shard.unlink()
    os.link(other, shard)
    ran = project.run()
    assert "changed after they were made" in ran.output
    assert ran.jobs == Counter({"motion_shard": 1, "motion_index": 1})
    assert "0 rows computed" in (project.folder / "logs/toy/motion/original/shard-0.log").read_text()
    assert shard.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("rot", "x", "unknown key `rot`; the nearest known key is `root`"), ("root", "nowhere", "nowhere")],
)
def test_a_wrong_configuration_is_one_line_and_exit_code_2(
    project: Project, key: str, value: str, expected: str
) -> None:
    project.config["dataset"][key] = value
    ran = project.run(check=False)
    assert ran.code == 2
    assert expected in ran.output
    assert "Traceback" not in ran.output


def test_every_job_has_a_log_that_says_how_far_it_got(finished: Project) -> None:
    logs = list((finished.folder / "logs/toy").rglob("*.log"))
    assert {path.name for path in logs} >= {"manifest.log", "index.log", "shard-0.log", "head.log", "report.log"}
    assert all("8/8" in log.read_text() or "video" in log.read_text() for log in finished.logs("motion"))


def test_nothing_is_written_outside_results_and_logs(finished: Project) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names <= {"videos", "config.yaml", "results", "logs", "benchmarks", ".snakemake"}
    assert not list(Path(finished.folder).rglob("*.tmp"))
