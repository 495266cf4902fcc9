"""The parts of a prediction: temperature, heads that no neighbour changes, windows, inputs, the card, the help."""

import doctest
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import moclip
from moclip.cli.main import main
from moclip.cli.predict import list_inputs
from moclip.errors import MoclipError
from moclip.evaluation.calibration import Temperature, choose_temperature, fit_temperature, mean_loss
from moclip.inference.model_card import build_card
from moclip.inference.quality import MeasuredMethod, describe_accuracy, describe_calibration, describe_chance
from moclip.motion.fields import FieldSpec, build_fields, choose_windows, frames_with_motion, slice_motion
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_inputs import Layout
from moclip.training.head_strategy import find_strategy, predict_logits
from moclip.video.motion_vectors import read_motion
from moclip.video.writer import write_video
from tests.unit.inference.test_model_card import card_facts
from tests.unit.video.test_motion_vectors import pan, render

COMMANDS = ("summary", "draw", "predict", "search", "classify", "export", "completion")


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(truth: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20_000, 5)) * 2
    draws = (logits / truth + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(logits, draws) == pytest.approx(truth, rel=0.05)


@given(st.integers(0, 2**31))
def test_a_fitted_temperature_is_never_worse_than_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((12, 4)) * 3, rng.integers(0, 4, 12)
    fitted = fit_temperature(logits, labels)
    assert mean_loss(logits, labels, temperature=fitted) <= mean_loss(logits, labels, temperature=1.0) + 1e-9


def test_a_temperature_that_only_the_groups_at_hand_ask_for_is_not_taken() -> None:
    rng = np.random.default_rng(3)
    logits, groups = rng.standard_normal((200, 5)) * 2, [f"g{number // 10}" for number in range(200)]
    honest = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert choose_temperature(logits, honest, groups=groups).value == 1.0
    overconfident = (logits / 4 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    chosen = choose_temperature(logits, overconfident, groups=groups)
    assert 2.5 < chosen.value < 7
    assert chosen.loss_held_out < chosen.loss_plain
    assert choose_temperature(logits, overconfident, groups=["one"] * 200).value == 1.0


def test_without_a_video_the_temperature_is_one() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, np.int64)) == 1.0


@pytest.mark.parametrize("kind", ["mlp", "linear", "knn", "gated", "attention"])
@pytest.mark.parametrize(("motion", "appearance"), [(56, 40), (320, 514)])
def test_a_heads_logits_do_not_depend_on_how_many_others_are_asked_for(kind: Any, motion: int, appearance: int) -> None:
    rng = np.random.default_rng(0)
    layout = Layout(motion=motion, appearance=appearance, frames=2 if kind == "attention" else 0)
    config = HeadConfig(kind=kind, hidden=300)
    state: dict[str, np.ndarray] = {"labels": rng.integers(0, 7, 200), "num_classes": np.array([7])}
    shapes = {"support": (200, layout.width)}
    if kind != "knn":
        shapes = {
            name: tuple(v.shape)
            for name, v in find_strategy(kind).build(layout, num_classes=7, config=config).named_parameters()
        }
        state = {}
    state |= {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    head = TrainedHead(
        state=state,
        selection_state=state,
        history=(),
        best_epoch=1,
        config=config,
        layout=layout,
        chosen={"neighbours": 5},
    )
    inputs = rng.standard_normal((150, layout.width)).astype(np.float32)
    inputs[:, layout.width - layout.frames :] = 1 if layout.frames else inputs[:, layout.width :]
    together = predict_logits(head, inputs)
    alone = np.concatenate([predict_logits(head, row[None]) for row in inputs])
    assert (together == alone).all()
    assert (together[3:100] == predict_logits(head, inputs[3:100])).all()
    assert np.isfinite(together).all()
    assert predict_logits(head, inputs[:0]).shape == (0, 7)


def test_a_window_has_the_motion_of_its_frames_and_nothing_accumulated_from_before(tmp_path: Path) -> None:
    write_video(tmp_path / "pan.mp4", render(24, warp=pan(4, 0)), codec="mpeg4", frame_rate=25, gop=50)
    motion = read_motion(tmp_path / "pan.mp4", video_id="pan")
    part = slice_motion(motion, start=10, stop=20)
    assert part.num_frames == 10
    spec = FieldSpec(kind="raw", stride=8)
    frames = frames_with_motion(part)
    assert (build_fields(part, frames, spec=spec) == build_fields(motion, frames + 10, spec=spec)).all()
    accumulated = FieldSpec(kind="accumulated", stride=8)
    since_start = build_fields(part, [3], spec=accumulated)[0, 2:-2, 2:-2]
    assert np.median(since_start[..., 0]) == 16  # four frames of 4 px: those of the window alone


@given(st.integers(1, 60), st.floats(0.05, 5), st.floats(0.05, 5))
def test_windows_cover_every_frame_up_to_the_end_and_none_is_empty(num_frames: int, window: float, step: float) -> None:
    times = np.arange(num_frames) / 25
    windows = choose_windows(times, window_seconds=max(window, step), step_seconds=step)
    assert all(0 <= start < stop <= num_frames for start, stop in windows)
    assert windows[0][0] == 0
    assert {frame for start, stop in windows for frame in range(start, stop)} == set(range(num_frames))


def test_a_gap_of_years_in_the_times_holds_nothing_up() -> None:
    times = np.array([0.0, 0.5, 1e9, 1e9 + 0.5])
    assert choose_windows(times, window_seconds=1, step_seconds=1) == [(0, 2), (2, 4)]


def test_inputs_are_files_folders_patterns_and_lines(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.avi", "notes.txt", "sub/c.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_inputs([tmp_path]) == [tmp_path / "a.avi", tmp_path / "b.mp4", tmp_path / "sub/c.mkv"]
    assert list_inputs([tmp_path / "*.mp4", tmp_path / "b.mp4"]) == [tmp_path / "b.mp4"]
    assert list_inputs([Path("-")], listed=["x.mp4\n", "\n", "y z.mp4\n"]) == [Path("x.mp4"), Path("y z.mp4")]
    for words in ([tmp_path / "*.mov"], [Path("-")]):
        with pytest.raises(MoclipError, match="expected"):
            list_inputs(words)


def test_a_card_tells_numbers_with_their_interval_and_escapes_names() -> None:
    card = build_card(card_facts(class_names=("Run|ning", "<b>Jump</b>")))
    assert "| fusion | 90.0 | 82.6 - 94.5 | 25 | 100 |" in card
    assert "| motion | 90.0 | none, fewer than 10 groups | 7 | 100 |" in card
    assert "Chance: 60.0 % (the most frequent training class for every video), 50.0 % (a guess)." in card
    assert "- fusion: calibrated by temperature 1.20, fitted on 50 val videos" in card
    assert "Run\\|ning" in card
    assert "<b>" not in card
    for heading in ("## Data", "## Numbers", "## Cost", "## Input", "## Limits", "## Licences", "## Origin"):
        assert heading in card


TESTED = MeasuredMethod(
    top_1=0.61, low=0.5, high=0.7, num_groups=21, n=42, ece=0.301, chance_majority=0.4, chance_uniform=1 / 3
)


def make_temperature(value: float) -> Temperature:
    return Temperature(value=value, num_videos=48, loss_plain=1.0, loss_held_out=1.0, test_ece=0.052)


def test_percentages_that_no_temperature_corrects_are_told_with_their_error() -> None:
    words = describe_calibration(make_temperature(1.0), tested=TESTED, uncalibrated="")
    assert words.startswith("not calibrated: no temperature is better on held-out groups of 48 val videos")
    assert words.endswith("calibration error on test 30.1 points")
    fitted = describe_calibration(make_temperature(1.7), tested=TESTED, uncalibrated="")
    assert fitted == ("calibrated by temperature 1.70, fitted on 48 val videos; calibration error on test 5.2 points")
    none = describe_calibration(None, tested=None, uncalibrated="20 or more validation videos")
    assert none == "not calibrated: expected 20 or more validation videos"


def test_accuracy_is_told_with_its_groups_or_without_an_interval_and_why() -> None:
    assert describe_accuracy(TESTED) == (
        "right for 61.0 % of 42 test videos (95 % interval 50.0 to 70.0 over 21 groups)"
    )
    few = replace(TESTED, low=None, high=None, num_groups=7)
    assert describe_accuracy(few) == "right for 61.0 % of 42 test videos (no interval: 7 groups, fewer than 10)"
    assert describe_chance(TESTED).startswith("40.0 % (the most frequent training class")


def test_the_public_names_are_imported_when_they_are_asked_for() -> None:
    code = "import sys, moclip; assert not {'torch', 'numpy', 'av', 'h5py'} & set(sys.modules); moclip.FeatureStore"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = moclip.nothing_like_it


@pytest.mark.parametrize(
    "module", [f"moclip{name}" for name in ("", ".inference.search", ".motion.fields", ".inference.zero_shot")]
)
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), extraglobs={"np": np})
    assert found.attempted > 0
    assert not found.failed


def test_the_help_of_all_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {command}" in text for command in COMMANDS)
    assert len(text.splitlines()) <= 40


def test_models_are_imported_before_the_threads_of_the_streams_start() -> None:
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from moclip.inference import streams\n"
        "assert 'torchvision' not in sys.modules\n"
        "streams._side_by_side = lambda makers: iter(['torchvision.ops' in sys.modules and 'timm' in sys.modules])\n"
        "parts = SimpleNamespace(motion_network='network', appearance='clip')\n"
        "assert list(streams.extract_streams(parts, [])) == [True]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
