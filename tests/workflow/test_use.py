"""What is done with a finished run: predictions equal to its own, search, classes and a bundle."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moclip.cli.main import main
from moclip.inference import run as run_parts
from moclip.inference.feature_store import FeatureStore
from moclip.inference.predictor import Predictor
from moclip.inference.run import CALIBRATION_NAME
from tests.workflow.conftest import REPOSITORY, Project

pytestmark = pytest.mark.workflow

RUN = "results/toy/experiments/fusion/split-1/seed-0"
FENCE = re.compile(r"^```(sh|python)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def used(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project in another folder, for the tests of this file."""
    return finished.copy(tmp_path_factory.mktemp("used") / "project")


def run_command(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run one line `moclip ...` and return its exit code and what it printed."""
    program, *arguments = shlex.split(line)
    assert program == "moclip"
    code = 0
    try:
        main(arguments)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    return code, capsys.readouterr().out


def read_test_rows(folder: Path) -> dict[str, dict[str, str]]:
    return read_rows(folder / RUN / "predictions.tsv")


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["video_id"]: row for row in csv.DictReader(file, dialect="excel-tab")}


def list_test_files(folder: Path) -> dict[str, str]:
    with (folder / "results/toy/manifest.tsv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, dialect="excel-tab")
        return {f"videos/{row['path']}": row["video_id"] for row in rows if row["split_1"] == "test"}


def test_a_prediction_on_a_test_video_is_its_row_in_predictions(
    used: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    files, expected = list_test_files(used.folder), read_test_rows(used.folder)
    code, text = run_command(f"moclip predict {RUN} {' '.join(files)} --tsv", capsys)
    rows = {files[row["video"]]: row for row in csv.DictReader(io.StringIO(text), dialect="excel-tab")}
    assert code == 0
    assert rows.keys() == expected.keys()
    for video_id, row in expected.items():
        found = {column: rows[video_id][column] for column in row if column in rows[video_id]}
        assert found == {column: row[column] for column in found}
        assert {"fusion", "fusion_probability", "motion_top5", "appearance", "zero_shot"} <= found.keys()


def test_frames_that_follow_from_the_video_are_chosen_for_a_new_one_as_for_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, first = project.config["appearance"]["clip"], project.config["experiments"]["fusion"]
    for policy in ("motion", "change", "keyframes"):
        followed = {"motion": "original"} if policy == "motion" else {}
        project.config["appearance"][policy] = {**clip, "frames": {"policy": policy, "count": 2}, **followed}
        seen = {"appearance": policy, "head": "mlp", "methods": ["appearance"], "splits": [1], "seeds": [0]}
        project.config["experiments"][policy] = seen
    assert first["appearance"] == "clip"
    project.run()
    monkeypatch.chdir(project.folder)
    files = list_test_files(project.folder)
    for policy in ("motion", "change", "keyframes"):
        run = RUN.replace("fusion", policy)
        bundle = project.folder / f"bundle-{policy}"
        assert run_command(f"moclip export {run} {bundle}", capsys)[0] == 0
        expected = read_rows(project.folder / run / "predictions.tsv")
        for model in (run, bundle):
            code, text = run_command(f"moclip predict {model} {' '.join(files)} --tsv", capsys)
            assert code == 0
            for row in csv.DictReader(io.StringIO(text), dialect="excel-tab"):
                found = expected[files[row["video"]]]
                assert {name: row[name] for name in found if name in row} == {
                    name: found[name] for name in found if name in row
                }
                assert "appearance_probability" in row
        code, text = run_command(f"moclip predict {run} {next(iter(files))} --segments 0.2 --tsv", capsys)
        assert code == 0
        assert len(text.splitlines()) > 2


def test_probabilities_are_calibrated_on_validation_videos_and_kept_beside_the_run(
    used: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(used.folder)
    monkeypatch.setattr(run_parts, "MIN_VIDEOS", 2)
    (Path(RUN) / CALIBRATION_NAME).unlink(missing_ok=True)
    first = Predictor(RUN)
    stored = json.loads((Path(RUN) / CALIBRATION_NAME).read_text())
    methods = {"fusion", "ridge", "appearance", "appearance_ridge", "motion", "zero_shot"}
    assert stored["temperatures"].keys() == methods
    for name, entry in first.parts.temperatures.items():
        assert entry.num_videos == 2
        assert entry.value == 1 or entry.loss_held_out < entry.loss_plain, name
    assert Predictor(RUN).parts.temperatures == first.parts.temperatures
    vote = first.predict("videos/MovingDown/v0.mp4").vote
    assert sum(probability for _, probability in vote.top(2)) == pytest.approx(1)
    assert [name for name, _ in vote.top(2)] == [name for name, _ in vote.top(2, calibrated=False)]
    (Path(RUN) / CALIBRATION_NAME).unlink()


def test_two_validation_videos_are_too_few_to_calibrate_by(used: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(used.folder)
    predictor = Predictor(RUN)
    assert "not calibrated: expected 20 or more validation videos" in predictor.notes[0]
    assert predictor.predict("videos/MovingDown/v0.mp4").vote.temperature is None


def test_without_the_features_probabilities_are_not_calibrated_and_a_note_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    (project.folder / "results/toy/manifest.tsv").unlink()
    predictor = Predictor(RUN)
    assert "not calibrated" in predictor.notes[0]
    prediction = predictor.predict("videos/MovingDown/v0.mp4")
    assert prediction.vote.temperature is None


def test_a_broken_file_is_a_reason_in_the_output_and_the_others_go_on(
    used: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    Path("broken.mp4").write_bytes(b"no video at all")
    code, text = run_command(f"moclip predict {RUN} broken.mp4 absent.mp4 videos/MovingDown/v0.mp4 --json", capsys)
    rows = [json.loads(line) for line in text.splitlines()]
    assert code == 1
    assert [row["status"] for row in rows] == ["unreadable", "missing", "ok"]
    code, text = run_command(f"moclip predict {RUN} broken.mp4 --segments 1", capsys)
    assert code == 2
    assert "\nbroken.mp4: unreadable" in text


def test_one_window_over_a_whole_video_says_what_the_video_says(used: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(used.folder)
    predictor = Predictor(RUN)
    video = "videos/MovingRight/v1.avi"
    whole = predictor.predict(video)
    (window,) = predictor.predict_segments(video, window_seconds=100, step_seconds=100)
    assert window.start_seconds == 0
    assert window.stop_seconds == pytest.approx(12 / 25)
    for method, vote in whole.votes.items():
        assert (window.prediction.votes[method].logits == vote.logits).all(), method


def test_a_bundle_alone_says_the_same(used: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(used.folder)
    expected = Predictor(RUN).predict("videos/MovingDown/v2.mp4")
    main(["export", RUN, str(tmp_path / "bundle")])
    monkeypatch.chdir(tmp_path)
    bundle = Predictor("bundle")
    found = bundle.predict(used.folder / "videos/MovingDown/v2.mp4")
    assert found.votes.keys() == expected.votes.keys()
    for method, vote in expected.votes.items():
        assert (found.votes[method].logits == vote.logits).all()
        assert found.votes[method].temperature == vote.temperature
    assert (tmp_path / "bundle/labels.txt").read_text().splitlines() == list(bundle.class_names)
    assert "## Limits" in (tmp_path / "bundle/README.md").read_text()


def test_a_damaged_bundle_is_refused(
    used: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    main(["export", RUN, str(tmp_path / "bundle")])
    head = tmp_path / "bundle/head.safetensors"
    head.write_bytes(head.read_bytes()[:-1])
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "bundle"), "videos/MovingDown/v2.mp4"])
    assert "not as it was exported" in capsys.readouterr().err


def test_every_model_of_a_bundle_is_the_same_as_onnx(
    used: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra `export` is not installed")
    monkeypatch.chdir(used.folder)
    main(["export", RUN, str(tmp_path / "bundle"), "--onnx"])
    text, warned = capsys.readouterr()
    assert warned == ""
    files = {path.name for path in (tmp_path / "bundle/onnx").iterdir()}
    assert files == {"motion_network.onnx", "image_encoder.onnx", "head_fusion.onnx", "head_appearance.onnx"}
    assert all(f"{name}: within" in text for name in files)
    video = "videos/MovingDown/v0.mp4"
    shutil.copyfile(video, tmp_path / "bundle/video.mp4")
    blocks = [code for _, code in FENCE.findall((tmp_path / "bundle/README.md").read_text(encoding="utf-8"))]
    assert len(blocks) == 4
    script = tmp_path / "without_moclip.py"
    script.write_text("".join(blocks), encoding="utf-8")
    # Isolated (-I), so that the script cannot import the library under test by way of PYTHONPATH.
    done = subprocess.run(
        [sys.executable, "-I", str(script)], cwd=tmp_path / "bundle", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = {method: (label, float(share)) for method, label, share in map(str.split, done.stdout.splitlines())}
    votes = Predictor(tmp_path / "bundle").predict(video).votes
    assert found.keys() == {"appearance", "motion", "fusion"}
    for method, (label, share) in found.items():
        assert (label, share) == (votes[method].label, pytest.approx(votes[method].top(1)[0][1], abs=0.002))


def test_an_example_is_most_like_itself_and_the_page_shows_it(
    used: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    line = "moclip search results/toy --video videos/MovingDown/v0.mp4 --json --html sheet.html --root videos"
    code, text = run_command(line, capsys)
    best = json.loads(text)[0]
    assert code == 0
    assert (best["video_id"], best["similarity"]) == ("MovingDown/v0", pytest.approx(1, abs=1e-5))
    page = Path("sheet.html").read_text()
    assert page.count('src="data:image/jpeg') == 10
    assert "http" not in page.replace("http-equiv", "")


def test_cached_and_decoded_videos_have_the_same_label_in_words(
    used: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    classes = '--classes "a star, a moon" --json'
    _, cached = run_command(f"moclip classify results/toy {classes}", capsys)
    _, decoded = run_command(f"moclip classify results/toy {classes} videos/MovingDown/v0.mp4", capsys)
    by_id = {row["video"]: row["top"] for row in json.loads(cached)}
    assert len(by_id) == 16
    assert by_id["MovingDown/v0"] == json.loads(decoded)[0]["top"]


def test_the_store_reads_what_a_head_is_trained_on(used: Project) -> None:
    with FeatureStore(used.results()) as store:
        ids, embeddings = store.matrix("appearance/clip")
        rows = np.stack([np.asarray(store.read("appearance/clip", video)["embedding"])[0] for video in ids])
        assert len(ids) == 16
        assert (rows == embeddings).all()
        assert store.video_ids("motion/original") == ids
        assert store.rejected("motion/original") == {}
        assert store.read_motion("motion/original", ids[0]).num_frames == 12
        assert dict(store.frames("appearance/clip")).keys() == set(ids)


@pytest.mark.parametrize("how", ["directly", "module"])
def test_the_end_of_a_run_shows_the_table_and_the_places_of_table_and_report(
    how: str, used: Project, tmp_path: Path
) -> None:
    project = Project(folder=tmp_path / "project", config=used.config)
    shutil.copytree(used.folder, project.folder, symlinks=True)
    project.run("--", "results/toy/manifest.tsv")
    summary = project.folder / "results/toy/summary.tsv"
    summary.unlink()
    if how == "directly":
        output = project.run().output
    else:
        snakefile = f'module moclip:\n    snakefile: "{REPOSITORY / "Snakefile"}"\n    config: config\n'
        (project.folder / "Snakefile").write_text(
            f'configfile: "config.yaml"\n\n\n{snakefile}\n\nuse rule * from moclip\n'
        )
        profile = str(REPOSITORY / "workflow/profiles/default")
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", profile]
        done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=True, timeout=600)
        output = done.stdout + done.stderr
    end = output[output.rindex("\nmethod  ") :]
    assert re.search(r"^fusion\n(  .*\n)*  fusion +\d", end, flags=re.MULTILINE)
    assert "\ntable: results/toy/summary.tsv\nreport: results/toy/report.html\n" in end
    assert output.count("table: results/toy/summary.tsv") == 1
    # A run of a part of the graph is not asked for them.
    assert "table: " not in project.run("--", "results/toy/manifest.tsv").output
