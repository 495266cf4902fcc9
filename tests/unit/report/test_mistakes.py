"""Which mistakes are shown, what is said of them, and that no name can break the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.core.files import write_json
from moclip.errors import DatasetError
from moclip.evaluation.evaluate import evaluate_run, write_predictions
from moclip.evaluation.scoring import MethodLogits
from moclip.report.mistakes import (
    draw_mistakes,
    find_mistakes,
    fit_pictures,
    read_mistakes,
    read_predictions,
)
from moclip.report.pages import render


def row(video_id: str, *, truth: str, said: str, probability: float = 0.5, motion: str = "A") -> dict[str, str]:
    return {
        "video_id": video_id,
        "class_name": truth,
        "class_index": str("AB".index(truth)),
        "status": "ok" if said else "unreadable",
        "motion": motion,
        "motion_probability": "0.25",
        "motion_top5": "",
        "fusion": said,
        "fusion_probability": f"{probability}" if said else "",
        "fusion_top5": "",
    }


def make_mistakes() -> dict[str, Any]:
    """Mistakes of two classes."""
    rows = [row("a/1", truth="A", said="B"), row("b/1", truth="B", said="A"), row("b/2", truth="B", said="A")]
    return find_mistakes([rows], experiment="main", number=9)


def test_a_mistake_is_what_some_run_got_wrong() -> None:
    first = [row("a/1", truth="A", said="A"), row("a/2", truth="A", said="B"), row("b/1", truth="B", said="B")]
    second = [row("a/1", truth="A", said="A"), row("a/2", truth="A", said="A"), row("b/1", truth="B", said="A")]
    found = find_mistakes([first, second], experiment="main", number=9)
    assert (found["method"], found["num_videos"], found["num_wrong"]) == ("fusion", 3, 2)
    assert [(one["video_id"], one["num_wrong"], one["num_runs"]) for one in found["shown"]] == [
        ("a/2", 1, 2),
        ("b/1", 1, 2),
    ]


def test_a_video_without_scores_is_no_mistake() -> None:
    found = find_mistakes([[row("a/1", truth="A", said="")]], experiment="main", number=9)
    assert (found["num_wrong"], found["shown"]) == (0, [])


def test_of_each_class_the_worst_comes_first() -> None:
    rows = [row(f"a/{n}", truth="A", said="B", probability=0.5 + n / 100) for n in range(5)]
    rows.append(row("b/1", truth="B", said="A", probability=0.3))
    assert [one["video_id"] for one in find_mistakes([rows], experiment="main", number=2)["shown"]] == ["a/4", "b/1"]
    assert [one["video_id"] for one in find_mistakes([rows], experiment="main", number=3)["shown"]] == [
        "a/3",
        "a/4",
        "b/1",
    ]
    assert find_mistakes([rows], experiment="main", number=0)["num_wrong"] == 6


def test_what_most_runs_got_wrong_comes_before_what_one_was_sure_of() -> None:
    tables = [
        [row("a/1", truth="A", said="B", probability=0.4), row("a/2", truth="A", said="B", probability=0.99)],
        [row("a/1", truth="A", said="B", probability=0.4), row("a/2", truth="A", said="A", probability=0.99)],
    ]
    assert [one["video_id"] for one in find_mistakes(tables, experiment="main", number=1)["shown"]] == ["a/1"]


def test_a_vote_is_the_class_of_most_runs_and_their_mean_probability() -> None:
    said = [("A", 0.9), ("B", 0.5), ("B", 0.7)]
    tables = [[row("a/1", truth="A", said=name, probability=probability)] for name, probability in said]
    votes = find_mistakes(tables, experiment="main", number=1)["shown"][0]["votes"]
    assert votes[0] == {"method": "motion", "class_name": "A", "probability": 0.25, "num_runs": 3, "is_right": True}
    assert votes[1] == {"method": "fusion", "class_name": "B", "probability": 0.6, "num_runs": 2, "is_right": False}


def test_the_predictions_of_a_run_can_be_read(tmp_path: Path) -> None:
    truth = np.array([0, 1, 1])
    logits = np.array([[3, 0], [3, 0], [0, 3]], np.float32)
    result = evaluate_run(
        {"motion": MethodLogits(video_ids=("a", "b", "c"), logits=logits)},
        test_ids=("a", "b", "c"),
        class_index=truth,
        class_names=("A", "B"),
        training_classes=truth,
        rejected={},
        rejected_test_videos="wrong",
        encoders={"motion": "trained"},
    )
    write_predictions(tmp_path / "predictions.tsv", result=result)
    found = find_mistakes([read_predictions(tmp_path / "predictions.tsv")], experiment="main", number=9)
    assert (found["method"], [one["video_id"] for one in found["shown"]]) == ("motion", ["b"])


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    found = find_mistakes([[row("a/1", truth="A", said="B")]], experiment="main", number=9)
    write_json(tmp_path / "mistakes.json", found)
    assert read_mistakes(tmp_path / "mistakes.json") == found


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0}', '{"format": 2, "shown": []}'])
def test_another_file_is_no_file_of_mistakes(tmp_path: Path, text: str) -> None:
    (tmp_path / "mistakes.json").write_text(text)
    with pytest.raises(DatasetError, match=r"mistakes.json: expected mistakes"):
        read_mistakes(tmp_path / "mistakes.json")


@pytest.mark.parametrize("text", ["", "video_id\tclass_name\n", "video_id\tclass_name\na\tA\n"])
def test_another_table_is_no_table_of_predictions(tmp_path: Path, text: str) -> None:
    (tmp_path / "predictions.tsv").write_text(text)
    with pytest.raises(DatasetError, match=r"predictions.tsv: expected"):
        read_predictions(tmp_path / "predictions.tsv")


def render_section(mistakes: dict[str, Any]) -> str:
    return render("mistakes.html", mistakes=mistakes)


def test_no_name_breaks_the_page() -> None:
    evil = '<script>alert("1")</script>&"'
    found = find_mistakes([[row("a/1", truth="A", said="B")]], experiment=evil, number=9)
    vote = {"method": evil, "class_name": evil, "probability": 0.5, "is_right": False}
    shown = {**found["shown"][0], "video_id": evil, "class_name": evil, "note": evil, "votes": [vote]}
    for picture in ("", "data:image/jpeg;base64,AAAA"):
        page = render_section({**found, "shown": [{**shown, "picture": picture}]})
        assert evil not in page
        assert page.count("<script") == 0
        assert page.count("&lt;script&gt;") >= 5


def test_a_page_without_mistakes_says_so() -> None:
    page = render_section(
        find_mistakes([[row(f"a/{n}", truth="A", said="A") for n in range(7)]], experiment="e", number=9)
    )
    assert "0 of 7 test videos wrong" in page
    assert "<figure" not in page


def test_a_mistake_carries_which_stream_was_right() -> None:
    first = row("a/1", truth="A", said="B")
    assert 'data-streams="motion right"' in render_section(find_mistakes([[first]], experiment="main", number=9))
    both = {**first, "appearance": "B", "appearance_probability": "0.7"}
    section = render_section(find_mistakes([[both]], experiment="main", number=9))
    assert 'data-class="A" data-streams="motion right, appearance wrong"' in section


def test_the_pictures_of_mistakes_keep_to_their_bytes_and_every_class_keeps_some() -> None:
    rows = [row(f"a/{n}", truth="A", said="B") for n in range(6)] + [row("b/1", truth="B", said="A")]
    found = find_mistakes([rows], experiment="main", number=9)
    drawn = {one["video_id"]: {"picture": "x" * 10, "preview": "y" * 90} for one in found["shown"]}
    shown = fit_pictures(found, drawn=drawn, max_bytes=300)["shown"]
    assert [one["class_name"] for one in shown] == ["A", "A", "B"]
    assert sum(len(one["picture"]) + len(one["preview"]) for one in shown) == 300


def test_a_video_that_is_gone_is_shown_without_a_picture(tmp_path: Path) -> None:
    header = list(row("a/1", truth="A", said="B"))
    lines = ["\t".join(header), "\t".join(row("a/1", truth="A", said="B").values())]
    (tmp_path / "predictions.tsv").write_text("\n".join(lines) + "\n")
    columns = ["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"]
    entry = ["a/1", "a/1.avi", "A", "0", "", "0" * 32, "0", "test"]
    (tmp_path / "manifest.tsv").write_text("\t".join(columns) + "\n" + "\t".join(entry) + "\n")
    draw_mistakes(
        tmp_path / "mistakes.json",
        predictions=[tmp_path / "predictions.tsv"],
        experiment="main",
        manifest=tmp_path / "manifest.tsv",
        motion_index=None,
        root=tmp_path,
        number=5,
    )
    (shown,) = read_mistakes(tmp_path / "mistakes.json")["shown"]
    assert shown["picture"] == ""
    assert "missing" in shown["note"]
