"""Percentages are printed with the accuracy of their run, chance, and their calibration, in every form of output."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from moclip.cli.main import main
from moclip.evaluation.calibration import Temperature
from moclip.inference import predictor
from moclip.inference.predictor import Prediction, Vote
from moclip.inference.quality import MeasuredMethod
from moclip.inference.run import RunParts

MEASURED = MeasuredMethod(
    top_1=0.7, low=None, high=None, num_groups=6, n=30, ece=0.301, chance_majority=0.4, chance_uniform=0.5
)
# No temperature proved itself for fusion; that of appearance did.
TEMPERATURES = {
    name: Temperature(value=value, num_videos=48, loss_plain=1.0, loss_held_out=1.0, test_ece=0.05)
    for name, value in (("fusion", 1.0), ("appearance", 2.0))
}


class FakePredictor:
    """A run of two methods, sure of one class for every video."""

    def __init__(self, run: Path, *, device: str) -> None:
        self.notes: tuple[str, ...] = ()
        measured = {"temperatures": TEMPERATURES, "tested": {"appearance": MEASURED, "fusion": MEASURED}}
        self.parts: Any = SimpleNamespace(name="toy", methods=("appearance", "fusion"), uncalibrated="", **measured)
        self.parts.describe_calibration = partial(RunParts.describe_calibration, self.parts)

    def predict_all(self, videos: Sequence[Path], *, num_threads: int) -> Iterator[Prediction]:
        logits = np.array([5.0, 0.0], np.float32)
        votes = {
            name: Vote(logits=logits, temperature=TEMPERATURES[name].value, class_names=("Run", "Jump"))
            for name in self.parts.methods
        }
        return (Prediction(video=str(video), status="ok", detail="", votes=votes) for video in videos)


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what `moclip predict` prints for two videos, with some options."""
    monkeypatch.setattr(predictor, "Predictor", FakePredictor)

    def run(*options: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["predict", "run", "a.mp4", "b.mp4", *options])
        assert end.value.code == 0
        return capsys.readouterr().out

    return run


def test_text_begins_with_what_the_percentages_are_worth(predict: Any) -> None:
    lines = predict().splitlines()
    accuracy = "right for 70.0 % of 30 test videos (no interval: 6 groups, fewer than 10)"
    assert lines[:4] == [
        "# run toy",
        f"# appearance: {accuracy}; percentages calibrated by temperature 2.00, fitted on 48 val videos; "
        "calibration error on test 5.0 points",
        f"# fusion: {accuracy}; percentages not calibrated: no temperature is better on held-out groups of 48 val "
        "videos; calibration error on test 30.1 points",
        "# chance: 40.0 % (the most frequent training class for every video), 50.0 % (a guess)",
    ]
    assert lines[4] == "a.mp4: Run 99.3 %, Jump 0.7 %"
    assert not any(line.startswith("#") for line in lines[4:])


def test_every_json_document_and_row_holds_the_same(predict: Any) -> None:
    document = json.loads(predict("--json").splitlines()[1])
    fusion, appearance = document["votes"]["fusion"], document["votes"]["appearance"]
    assert (fusion["calibrated"], fusion["test_ece"], fusion["test"]["top_1"]) == (False, 0.301, 0.7)
    assert (appearance["calibrated"], appearance["test_ece"]) == (True, 0.05)
    assert (fusion["test"]["num_groups"], fusion["test"]["chance_majority"]) == (6, 0.4)
    row = list(csv.DictReader(io.StringIO(predict("--tsv")), dialect="excel-tab"))[1]
    names = ("video", "fusion_temperature", "fusion_test_top_1", "fusion_test_ece", "appearance_test_ece")
    assert [row[name] for name in names] == ["b.mp4", "1", "0.7", "0.301", "0.05"]
    assert (row["chance_majority"], row["chance_uniform"]) == ("0.4", "0.5")
