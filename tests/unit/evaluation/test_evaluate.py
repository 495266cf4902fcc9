"""What one test of a run counts, writes and refuses."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.evaluation.evaluate import (
    evaluate_run,
    join_names,
    read_metrics,
    split_names,
    write_metrics,
    write_predictions,
)
from moclip.evaluation.scoring import MethodLogits

CLASSES = ("Archery", '<b>Bowl & "Pin"</b>', "Cut|Chop", "Dive", "Etude", "Fence")
TRUTH = {"a/v1": 0, "a/v2": 1, "a/v3": 2, "a/v4": 3}
ENCODERS = {"appearance": "trained", "text": "trained", "motion": "trained"}


def logits_for(predicted: dict[str, int], *, height: float = 3.0) -> MethodLogits:
    logits = np.zeros((len(predicted), len(CLASSES)), dtype=np.float32)
    logits[range(len(predicted)), list(predicted.values())] = height
    return MethodLogits(video_ids=tuple(predicted), logits=logits)


def evaluate(methods=None, **changes):
    request = {
        "test_ids": list(TRUTH),
        "class_index": list(TRUTH.values()),
        "class_names": CLASSES,
        "training_classes": np.array([0, 0, 1, 2, 3, 4, 5]),
        "rejected": {},
        "rejected_test_videos": "wrong",
        "encoders": ENCODERS,
    }
    chosen = {"fusion": logits_for(TRUTH), "motion": logits_for({**TRUTH, "a/v2": 0})} if methods is None else methods
    return evaluate_run(chosen, **{**request, **changes})


def read_table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def partly_rejected(policy: str):
    motion = logits_for({"a/v1": 0, "a/v2": 1, "a/v3": 2})
    methods = {"zero_shot": logits_for({**TRUTH, "a/v1": 5}), "motion": motion}
    return evaluate(methods, rejected={"a/v4": "no_motion_vectors", "a/train": "missing"}, rejected_test_videos=policy)


def test_each_method_is_measured_on_the_same_videos():
    methods = evaluate().metrics["methods"]
    assert {name: (entry["top_1"], entry["n"]) for name, entry in methods.items()} == {
        "motion": (0.75, 4),
        "fusion": (1.0, 4),
    }


def test_chance_is_measured_on_the_videos_that_count():
    assert evaluate().metrics["chance"] == {"majority": 0.25, "uniform": pytest.approx(1 / 6)}
    assert partly_rejected("leave_out").metrics["chance"]["majority"] == pytest.approx(1 / 3)
    # Two classes are equally frequent in training: either may be guessed, and no test video is of the second.
    tied = evaluate(training_classes=np.array([0, 0, 5, 5, 1]))
    assert tied.metrics["chance"]["majority"] == 0.125
    with pytest.raises(DatasetError, match="expected training videos, found none"):
        evaluate(training_classes=np.array([], np.int64))


def test_each_method_has_an_interval_over_groups_and_their_number():
    few = evaluate(groups=dict.fromkeys(TRUTH, "g1") | {"a/v1": "g2"}).metrics
    assert (few["num_groups"], few["methods"]["motion"]["num_groups"]) == (2, 2)
    assert few["methods"]["motion"]["top_1_groups_low"] is None
    ids = {f"v{index:02d}": index % 4 for index in range(40)}
    logits = logits_for({video_id: 0 if index % 8 else index for video_id, index in ids.items()})
    many = evaluate(
        {"fusion": logits},
        test_ids=list(ids),
        class_index=list(ids.values()),
        groups={video_id: f"g{int(video_id[1:]) // 2}" for video_id in ids},
    ).metrics["methods"]["fusion"]
    assert many["num_groups"] == 20
    assert many["top_1_groups_low"] < many["top_1"] < many["top_1_groups_high"]


def test_a_rejected_video_counts_as_wrong_where_it_has_no_scores():
    methods = partly_rejected("wrong").metrics["methods"]
    motion, zero_shot = methods["motion"], methods["zero_shot"]
    assert (motion["top_1"], motion["n"], motion["num_scored"], motion["coverage"]) == (0.75, 4, 3, 0.75)
    assert (zero_shot["top_1"], zero_shot["n"], zero_shot["num_scored"], zero_shot["coverage"]) == (0.75, 4, 4, 1.0)
    assert motion["rejected_per_class"] == [0, 0, 0, 1, 0, 0]


def test_a_rejected_video_is_left_out_for_every_method_and_the_coverage_still_tells():
    methods = partly_rejected("leave_out").metrics["methods"]
    assert [methods[name]["n"] for name in ("motion", "zero_shot")] == [3, 3]
    assert methods["motion"]["top_1"] == 1.0
    assert methods["zero_shot"]["top_1"] == pytest.approx(2 / 3)
    assert methods["motion"]["coverage"] == 0.75
    assert methods["motion"]["rejected_per_class"] == [0] * 6


def test_reasons_are_counted_over_test_videos_only():
    assert partly_rejected("wrong").metrics["rejected"] == {"no_motion_vectors": 1}
    assert partly_rejected("wrong").status == ("ok", "ok", "ok", "no_motion_vectors")


def test_a_test_video_without_scores_and_without_a_reason_is_named():
    with pytest.raises(DatasetError, match=r"motion: 1 test videos.*a/v4"):
        evaluate({"motion": logits_for({"a/v1": 0, "a/v2": 1, "a/v3": 2})})


def test_scores_of_other_videos_change_nothing():
    more = {"z/other": 4, **TRUTH, "b/other": 1}
    assert evaluate({"fusion": logits_for(more)}).metrics == evaluate({"fusion": logits_for(TRUTH)}).metrics


def test_the_order_of_the_test_list_and_of_the_scores_changes_no_byte(tmp_path):
    turned = dict(reversed(TRUTH.items()))
    results = [
        evaluate({"fusion": logits_for(TRUTH)}),
        evaluate({"fusion": logits_for(turned)}, test_ids=list(turned), class_index=list(turned.values())),
    ]
    for name, result in zip("ab", results, strict=True):
        write_predictions(tmp_path / f"{name}.tsv", result=result)
        write_metrics(tmp_path / f"{name}.json", result=result)
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_model_is_never_tested_on_a_video_that_shaped_it():
    with pytest.raises(DatasetError, match=r"1 test videos shaped.*a/v3"):
        evaluate(trained_on=["a/v3", "a/v9"])
    assert evaluate(trained_on=["a/v9"]).metrics["num_test"] == 4


def test_untrained_encoders_mark_the_methods_that_stand_on_them_and_no_other():
    names = ("zero_shot", "motion", "appearance", "fusion")
    encoders = {"appearance": "trained", "text": "untrained", "motion": "from random start"}
    result = evaluate({name: logits_for(TRUTH) for name in names}, encoders=encoders)
    notes = {name: entry["encoder_note"] for name, entry in result.metrics["methods"].items()}
    assert notes == {
        "zero_shot": "text untrained",
        "motion": "motion from random start",
        "appearance": "",
        "fusion": "motion from random start",
    }
    assert result.metrics["encoders"] == encoders


def test_what_the_request_gets_wrong_is_named():
    with pytest.raises(ConfigError, match="voting"):
        evaluate({"voting": logits_for(TRUTH)})
    with pytest.raises(ConfigError, match="found 'ignore'"):
        evaluate(rejected_test_videos="ignore")
    with pytest.raises(ConfigError, match="`motion`"):
        evaluate(encoders={"appearance": "trained"})
    with pytest.raises(DatasetError, match="a/v1 twice"):
        evaluate(test_ids=["a/v1", "a/v1"], class_index=[0, 0])
    with pytest.raises(ModelError, match="6 classes"):
        evaluate({"fusion": MethodLogits(video_ids=tuple(TRUTH), logits=np.zeros((4, 5), np.float32))})
    with pytest.raises(DatasetError, match="found none"):
        evaluate({"fusion": logits_for({})}, rejected=dict.fromkeys(TRUTH, "missing"))


def test_a_nan_logit_is_an_error_and_not_a_wrong_answer():
    broken = logits_for(TRUTH)
    broken.logits[2, 1] = np.nan
    with pytest.raises(ModelError, match="finite"):
        evaluate({"fusion": broken})


def test_predictions_have_one_row_for_each_test_video_and_its_true_class(tmp_path):
    write_predictions(tmp_path / "predictions.tsv", result=evaluate())
    rows = read_table(tmp_path / "predictions.tsv")
    assert [(row["video_id"], row["class_name"], row["class_index"], row["status"]) for row in rows] == [
        (video_id, CLASSES[index], str(index), "ok") for video_id, index in TRUTH.items()
    ]
    assert [row["motion"] for row in rows] == [CLASSES[0], CLASSES[0], CLASSES[2], CLASSES[3]]
    assert list(rows[0])[4:] == [
        *("motion", "motion_probability", "motion_top5"),
        *("fusion", "fusion_probability", "fusion_top5"),
    ]


def test_top5_lists_five_classes_best_first_and_the_probability_is_that_of_the_best(tmp_path):
    logits = np.array([[0, 1, 5, 3, 2, 4]] * 4, dtype=np.float32)
    result = evaluate({"fusion": MethodLogits(video_ids=tuple(TRUTH), logits=logits)})
    write_predictions(tmp_path / "predictions.tsv", result=result)
    row = read_table(tmp_path / "predictions.tsv")[0]
    assert split_names(row["fusion_top5"]) == tuple(CLASSES[index] for index in (2, 5, 3, 4, 1))
    assert float(row["fusion_probability"]) == pytest.approx(np.exp(5) / np.exp(range(6)).sum(), abs=1e-6)


def test_a_rejected_video_has_its_reason_and_empty_cells(tmp_path):
    write_predictions(tmp_path / "predictions.tsv", result=partly_rejected("wrong"))
    row = read_table(tmp_path / "predictions.tsv")[3]
    assert (row["video_id"], row["status"]) == ("a/v4", "no_motion_vectors")
    assert (row["motion"], row["motion_probability"], row["motion_top5"]) == ("", "", "")
    assert row["zero_shot"] == "Dive"


@given(st.lists(st.text(alphabet="ab|\\ <é", min_size=1), min_size=1, max_size=5))
def test_names_with_any_characters_come_back_from_one_cell(names):
    assert split_names(join_names(names)) == tuple(names)


def test_metrics_come_back_from_their_file_sorted_and_with_short_rows(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    result = evaluate()
    write_metrics(path, result=result)
    assert read_metrics(path) == json.loads(json.dumps(result.metrics))
    text = path.read_text(encoding="utf-8")
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "[1, 0, 0, 0, 0, 0]" in text
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


def test_a_class_name_that_looks_like_numbers_is_written_as_it_is(tmp_path):
    names = ("[1,  2]", "[\\n 3]", "2", "d", "e", "f")
    write_metrics(tmp_path / "metrics.json", result=evaluate(class_names=names))
    assert read_metrics(tmp_path / "metrics.json")["class_names"] == list(names)


def test_missing_damaged_and_foreign_metrics_are_named(tmp_path):
    path = tmp_path / "metrics.json"
    for content in (None, "{", "[]", "{}", '{"format": 99}'):
        if content is not None:
            path.write_text(content)
        with pytest.raises(DatasetError, match=r"metrics\.json"):
            read_metrics(path)
