"""Predictions and metrics of every method of a run on its test videos."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS
from moclip.core.files import replace_atomically, write_tsv
from moclip.core.numerics import rank_classes, softmax
from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.evaluation.metrics import (
    Scores,
    build_scores,
    confusion_matrix,
    count_without_scores,
    expected_calibration_error,
    find_hits,
    leave_out,
    mean_class_accuracy,
    measure_chance,
    reliability,
    top_k_accuracy,
)
from moclip.evaluation.scoring import MethodLogits
from moclip.evaluation.statistics import group_interval

TRAINED = "trained"  # the state of an encoder that needs no mark

REJECTED_POLICIES = ("wrong", "leave_out")

METRICS_FORMAT = 3

_NUM_BEST = 5

_NUM_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run says of every test video, in the order of their ids, and the metrics over them, ready for JSON."""

    video_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    status: tuple[str, ...]
    scores: Mapping[str, Scores]
    metrics: Mapping[str, Any]


def evaluate_run(
    methods: Mapping[str, MethodLogits],
    *,
    test_ids: Sequence[str],
    class_index: Sequence[int] | NDArray[np.integer],
    class_names: Sequence[str],
    training_classes: NDArray[np.integer],
    rejected: Mapping[str, str],
    rejected_test_videos: str,
    encoders: Mapping[str, str],
    trained_on: Collection[str] = (),
    groups: Mapping[str, str] | None = None,
    trained_on_groups: Collection[str] = (),
    fitted_on: Mapping[str, str] | None = None,
    marks: Mapping[str, str] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> RunResult:
    """Return predictions and metrics of every method over the test videos.

    `class_index` is the truth of `test_ids`, `training_classes`, (M,), the class of each training video. A test video
    without logits of a method must be in `rejected` (id to reason); with the policy `wrong` it counts as wrong for that
    method, with `leave_out` it is left out for all. `encoders` gives the state of each encoder: `trained`, or the words
    that mark it in reports. `trained_on` and `trained_on_groups` shaped the models. `fitted_on` names
    the subsets behind each method, `marks` what a reader must know of one. `notes` are added to the metrics.

    Raises:
        ConfigError: A method or the policy is unknown, or an encoder's state is not given.
        DatasetError: A test video, or one of its group, was trained on, listed twice, or has no logits and no reason.
        ModelError: Logits are not finite or of another shape than (N, classes).
    """
    _check_request(methods, policy=rejected_test_videos, encoders=encoders)
    _check_test(test_ids, class_index=class_index)
    check_unseen(test_ids, groups=groups or {}, trained_on=trained_on, trained_on_groups=trained_on_groups)
    truth = dict(sorted(zip(test_ids, map(int, class_index), strict=True)))
    scores = _align_all(methods, truth=truth, rejected=rejected, num_classes=len(class_names))
    everywhere = np.logical_and.reduce([entry.has_scores for entry in scores.values()])
    status = tuple("ok" if ok else rejected[video_id] for video_id, ok in zip(truth, everywhere, strict=True))
    keep = everywhere if rejected_test_videos == "leave_out" else np.ones_like(everywhere)
    kept_groups = [(groups or {}).get(video_id, video_id) for video_id, kept in zip(truth, keep, strict=True) if kept]
    header = {
        "format": METRICS_FORMAT,
        "class_names": list(class_names),
        "num_classes": len(class_names),
        "num_test": len(truth),
        "rejected": dict(Counter(word for word in status if word != "ok")),
        "rejected_test_videos": rejected_test_videos,
        "encoders": dict(encoders),
        "num_groups": len(set(kept_groups)),
        "chance": _describe_chance(truth, keep=keep, training=training_classes, num_classes=len(class_names)),
    }
    measured = {name: measure_method(entry, keep=keep, groups=kept_groups) for name, entry in scores.items()}
    for name in measured:
        measured[name] |= _describe_method(name, encoders=encoders, marks=marks or {}, fitted_on=fitted_on or {})
    return RunResult(
        video_ids=tuple(truth),
        class_names=tuple(class_names),
        status=status,
        scores=scores,
        metrics={**header, **(notes or {}), "methods": measured},
    )


def _align_all(
    methods: Mapping[str, MethodLogits], *, truth: Mapping[str, int], rejected: Mapping[str, str], num_classes: int
) -> dict[str, Scores]:
    return {
        name: _align(logits, name=name, truth=truth, rejected=rejected, num_classes=num_classes)
        for name, logits in _in_order(methods).items()
    }


def _describe_method(
    name: str, *, encoders: Mapping[str, str], marks: Mapping[str, str], fitted_on: Mapping[str, str]
) -> dict[str, str]:
    note = "; ".join(filter(None, [_note(name, encoders=encoders), marks.get(name)]))
    return {"encoder_note": note, "fitted_on": fitted_on.get(name, "")}


def _in_order(methods: Mapping[str, MethodLogits]) -> dict[str, MethodLogits]:
    return {name: methods[name] for name in METHODS if name in methods}


def _check_request(methods: Mapping[str, MethodLogits], *, policy: str, encoders: Mapping[str, str]) -> None:
    unknown = sorted(methods.keys() - METHODS.keys())
    if unknown or not methods:
        raise ConfigError(f"methods: expected one or more of {', '.join(METHODS)}; found {sorted(methods)}")
    if policy not in REJECTED_POLICIES:
        raise ConfigError(
            f"dataset.rejected_test_videos: expected one of {', '.join(REJECTED_POLICIES)}; found {policy!r}"
        )
    missing = sorted({encoder for name in methods for encoder in METHODS[name].encoders} - encoders.keys())
    if missing:
        raise ConfigError(
            f"encoders: expected the state of `{missing[0]}`, which {sorted(methods)} stand on; found none"
        )


def _check_test(test_ids: Sequence[str], *, class_index: Sequence[int] | NDArray[np.integer]) -> None:
    if len(test_ids) != len(class_index):
        raise DatasetError(f"test: expected a class for each of {len(test_ids)} videos, found {len(class_index)}")
    twice = [video_id for video_id, count in Counter(test_ids).items() if count > 1]
    if twice:
        raise DatasetError(f"test: expected each video once, found {twice[0]} twice")


def check_unseen(
    test_ids: Sequence[str],
    *,
    groups: Mapping[str, str],
    trained_on: Collection[str],
    trained_on_groups: Collection[str],
) -> None:
    """Pass test videos that no model has seen, nor any other video of their groups.

    Raises:
        DatasetError: One shaped a model, or was cut from the same source as a video that did.
    """
    leaked = sorted(set(test_ids) & set(trained_on))
    if leaked:
        raise DatasetError(
            f"test: {len(leaked)} test videos shaped the models that are tested, first {leaked[0]}; "
            "test a model on the split that it was trained for"
        )
    known = set(trained_on_groups)
    near = [video_id for video_id in sorted(test_ids) if groups.get(video_id) in known]
    if near:
        raise DatasetError(
            f"test: {len(near)} test videos are of groups that shaped the models that are tested, first {near[0]} "
            f"(group {groups[near[0]]}); let the lists keep groups whole, or test on the split that it was trained for"
        )


def _align(
    given: MethodLogits, *, name: str, truth: Mapping[str, int], rejected: Mapping[str, str], num_classes: int
) -> Scores:
    if given.logits.shape != (len(given.video_ids), num_classes):
        raise ModelError(
            f"{name}: expected logits of {len(given.video_ids)} videos x {num_classes} classes, "
            f"found the shape {given.logits.shape}"
        )
    rows = {video_id: row for row, video_id in enumerate(given.video_ids)}
    lost = [video_id for video_id in truth if video_id not in rows and video_id not in rejected]
    if lost:
        found = f"{len(lost)} test videos have neither logits nor a reason for having none, first {lost[0]}"
        raise DatasetError(f"{name}: {found}; run again")
    has_scores = np.array([video_id in rows for video_id in truth], dtype=bool)
    if not has_scores.any():
        raise DatasetError(f"{name}: expected test videos with features, found none; see rejects.tsv")
    logits = np.zeros((len(truth), num_classes), dtype=np.float32)
    logits[has_scores] = given.logits[[rows[video_id] for video_id in truth if video_id in rows]]
    return build_scores(logits, class_index=np.array(list(truth.values())), has_scores=has_scores)


def _note(name: str, *, encoders: Mapping[str, str]) -> str:
    states = {encoder: encoders[encoder] for encoder in METHODS[name].encoders}
    return "; ".join(f"{encoder} {state}" for encoder, state in states.items() if state != TRAINED)


def _describe_chance(
    truth: Mapping[str, int], *, keep: NDArray[np.bool_], training: NDArray[np.integer], num_classes: int
) -> dict[str, float]:
    kept = np.array(list(truth.values()))[keep]
    chance = measure_chance(kept, training_classes=training, num_classes=num_classes)
    return {name: round(value, _NUM_DIGITS) for name, value in asdict(chance).items()}


def measure_method(scores: Scores, *, keep: NDArray[np.bool_], groups: Sequence[str]) -> dict[str, Any]:
    """Return every metric of one method over the videos that `keep`, bool (N,), marks; coverage is over all of them.

    `groups` names the group of each marked video.
    """
    kept = leave_out(scores, keep=keep)
    interval = group_interval([find_hits(kept, k=1).astype(np.float64)], groups=[groups])
    calibration = expected_calibration_error(kept)
    by_class = mean_class_accuracy(kept)
    bins = reliability(kept)
    return {
        "top_1": round(top_k_accuracy(kept, k=1).value, _NUM_DIGITS),
        "top_1_groups_low": None if interval.low is None else round(interval.low, _NUM_DIGITS),
        "top_1_groups_high": None if interval.high is None else round(interval.high, _NUM_DIGITS),
        "num_groups": interval.num_groups,
        "top_5": round(top_k_accuracy(kept, k=_NUM_BEST).value, _NUM_DIGITS),
        "mean_class_accuracy": round(by_class.value, _NUM_DIGITS),
        "num_absent_classes": by_class.num_absent_classes,
        "ece": round(calibration.value, _NUM_DIGITS),
        "n": by_class.n,
        "num_scored": calibration.n,
        "coverage": round(float(scores.has_scores.mean()), _NUM_DIGITS),
        "confusion": confusion_matrix(kept).tolist(),
        "rejected_per_class": count_without_scores(kept).tolist(),
        "reliability": {
            "count": bins.count.tolist(),
            "confidence": bins.confidence.round(_NUM_DIGITS).tolist(),
            "accuracy": bins.accuracy.round(_NUM_DIGITS).tolist(),
        },
    }


def write_metrics(path: Path, *, result: RunResult) -> None:
    """Write the metrics as JSON with sorted keys, a row of numbers on one line; equal results give equal bytes."""
    text = json.dumps(result.metrics, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    rows = re.sub(r"\[\n[-0-9.,e\s]*\]", lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
    with replace_atomically(path) as temporary:
        temporary.write_text(rows + "\n", encoding="utf-8")


def read_metrics(path: Path) -> dict[str, Any]:
    """Return what `write_metrics` wrote.

    Raises:
        DatasetError: The file is missing, no such file, or of another format.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != METRICS_FORMAT:
            raise ValueError(f"format {document['format']} and not {METRICS_FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: expected the metrics of a run ({error}); run again", damaged=path) from None
    return document


def write_predictions(path: Path, *, result: RunResult) -> None:
    """Write one row for each test video; the cells of a method are empty where it has no scores.

    Columns: video_id, class_name, class_index, status (`ok` or the reason why some method has no scores); then for each
    method its prediction, `<method>_probability` and `<method>_top5`, five class names joined by `join_names`.
    """
    methods = list(result.scores)
    columns = [column for name in methods for column in (name, f"{name}_probability", f"{name}_top5")]
    cells = {name: _predict(result.scores[name], class_names=result.class_names) for name in methods}
    truth = result.scores[methods[0]].class_index
    rows = (
        (video_id, result.class_names[index], index, status, *(cell for name in methods for cell in cells[name][row]))
        for row, (video_id, index, status) in enumerate(zip(result.video_ids, truth, result.status, strict=True))
    )
    write_tsv(path, header=["video_id", "class_name", "class_index", "status", *columns], rows=rows)


def _predict(scores: Scores, *, class_names: Sequence[str]) -> list[tuple[str, str, str]]:
    ranked = rank_classes(scores.logits)[:, :_NUM_BEST]
    probabilities = softmax(scores.logits).max(axis=1)
    return [
        (class_names[best[0]], f"{probability:.6f}", join_names([class_names[index] for index in best]))
        if present
        else ("", "", "")
        for best, probability, present in zip(ranked, probabilities, scores.has_scores, strict=True)
    ]


def join_names(names: Sequence[str]) -> str:
    r"""Return the names in one cell, joined by `|`; a `|` or `\` inside a name has a `\` before it.

    >>> join_names(["Lunges", "A|B"])
    'Lunges|A\\|B'
    """
    return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in names)


def split_names(cell: str) -> tuple[str, ...]:
    r"""Return the names that `join_names` put into one cell.

    >>> split_names("Lunges|A\\|B")
    ('Lunges', 'A|B')
    """
    return tuple(re.sub(r"\\(.)", r"\1", name) for name in re.findall(r"(?:[^|\\]|\\.)+", cell))
