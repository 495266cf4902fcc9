"""The test of one run: every method on the test subset, read once, and the files that say what came of it."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from moclip.class_embeddings import ClassEmbeddings
from moclip.errors import MoclipError, ModelError
from moclip.evaluation import MethodLogits, evaluate_run, write_metrics, write_predictions
from moclip.features import index_fingerprint, read_index
from moclip.files import replace_atomically
from moclip.head_files import HeadFile, check_split, load_heads
from moclip.head_index import digest_name, file_digest, read_digests
from moclip.head_math import mix_scores
from moclip.head_runs import FeatureLoader, check_network, predict_head
from moclip.labels import SUBSETS
from moclip.manifest_table import list_class_names, read_table
from moclip.methods import METHODS
from moclip.streams import Stream, shared_videos
from moclip.subsets import load_labels
from moclip.zero_shot import zero_shot_logits

Floats = NDArray[np.float32]
_LIBRARIES = ("av", "h5py", "numpy", "open_clip_torch", "pandas", "snakemake", "timm", "torch", "torchvision")


def write_run(
    folder: Path,
    *,
    manifest: Path,
    head: Path,
    heads_index: Path,
    inputs: Mapping[str, Path],
    config: Mapping[str, Any],
    split: int,
    seed: int,
    rejected_test_videos: str,
    commit: str,
) -> None:
    """Test every method of a run on the test subset and write predictions.tsv, metrics.json and run.yaml.

    `inputs` holds the indexes of the streams (`motion`, `appearance`), the class embeddings (`text`) and the motion
    network behind the first (`network`); `config` the experiment and its variants, resolved.

    Raises:
        DatasetError: A test video, or one of its group, shaped a model that is tested; or it has no features and no
            reason.
        ModelError: A model was trained for another split, or is not the one that was noted.
    """
    test = load_labels(manifest, split=split, subset="test")
    heads = _load_run_heads(head, heads_index=heads_index, split=split)
    seen = [heads.seen]
    if "network" in inputs:
        seen.append(check_network(inputs["network"], motion=inputs["motion"], split=split))
    tester = _Tester(inputs=inputs, heads=heads, seed=seed)
    experiment = config["experiment"]
    result = evaluate_run(
        {method: tester.score(method, test.video_ids) for method in experiment["methods"]},
        test_ids=test.video_ids,
        class_index=test.select(test.video_ids),
        class_names=list_class_names(read_table(manifest)),
        rejected=tester.rejected(),
        rejected_test_videos=rejected_test_videos,
        encoders=tester.encoder_states(shots=experiment.get("shots", 0)),
        trained_on={video_id for part in seen for video_id in part.video_ids},
        groups=test.groups,
        trained_on_groups={group for part in seen for group in part.groups},
        notes={"chosen": tester.chosen()},
    )
    write_predictions(folder / "predictions.tsv", result=result)
    write_metrics(folder / "metrics.json", result=result)
    document = {
        "split": split,
        "seed": seed,
        "commit": commit,
        "config": config,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "features": {name: _describe_features(inputs[name], split=split) for name in _indexes(inputs)},
        "models": {name: file_digest(inputs[name]) for name in ("network", "text") if name in inputs},
        "head": file_digest(head),
    }
    _write_yaml(folder / "run.yaml", document)


def _indexes(inputs: Mapping[str, Path]) -> list[str]:
    return [name for name in ("motion", "appearance") if name in inputs]


def _describe_features(index: Path, *, split: int) -> dict[str, Any]:
    # Of the subsets of this split alone: a video outside them, or another number of shards, changes nothing of a run.
    return {"index": str(index), "fingerprint": index_fingerprint(index, split=split, subsets=SUBSETS)}


def _load_run_heads(head: Path, *, heads_index: Path, split: int) -> HeadFile:
    expected, found = read_digests(heads_index).get(digest_name(head)), file_digest(head)
    if expected != found:
        raise ModelError(f"{head}: stale: expected the digest {expected}, found {found}; delete it and run again")
    heads = load_heads(head)
    check_split(heads.seen, split=split, path=head)
    return heads


def score_method(
    method: str,
    video_ids: Sequence[str],
    *,
    streams: Mapping[str, Stream],
    motion_logits: Callable[[], Stream],
    heads: HeadFile,
    classes: ClassEmbeddings | None,
    seed: int,
) -> MethodLogits:
    """Return the logits of a method for those of some videos that have the features it needs.

    `motion_logits` gives the motion network's own logits, which `motion` and `score_fusion` alone ask for; `seed` is
    the run's, which shuffles motion.

    Raises:
        MoclipError: Zero-shot without class embeddings.
    """
    ids = shared_videos(video_ids, streams=[streams[name] for name in METHODS[method].streams])

    def score(name: str) -> Floats:
        if name == "motion":
            return motion_logits().select(ids)
        if name == "zero_shot":
            if classes is None:
                raise MoclipError("zero_shot: expected class embeddings, found none; name a text variant")
            return zero_shot_logits(streams["appearance"].select(ids), classes.embeddings)
        if name == "score_fusion":
            return mix_scores(score("appearance"), score("motion"), weight=heads.mixes[name]["motion"])
        return predict_head(name, heads.heads[name], ids, streams=streams, seed=seed)

    return MethodLogits(video_ids=tuple(ids), logits=np.asarray(score(method), dtype=np.float32))


class _Tester:
    """The models of a run, ready to be asked about videos."""

    def __init__(self, *, inputs: Mapping[str, Path], heads: HeadFile, seed: int) -> None:
        self._inputs, self._heads, self._seed = inputs, heads, seed
        self._load = FeatureLoader()
        self._streams = {name: self._load.stream(inputs[name]) for name in _indexes(inputs)}

    def score(self, method: str, test_ids: Sequence[str]) -> MethodLogits:
        """Return the logits of a method for the test videos that have what it reads."""
        return score_method(
            method,
            test_ids,
            streams=self._streams,
            motion_logits=lambda: self._load.stream(self._inputs["motion"], field="logits"),
            heads=self._heads,
            classes=self._load.text(self._inputs["text"]) if "text" in self._inputs else None,
            seed=self._seed,
        )

    def rejected(self) -> dict[str, str]:
        """Return the reason of every video that a stream has no features of."""
        return {video_id: reason for stream in self._streams.values() for video_id, reason in stream.rejected.items()}

    def encoder_states(self, *, shots: int) -> dict[str, str]:
        """Return the state of each encoder; one that saw more labels than a few-shot run says so."""
        states = {name: str(read_index(self._inputs[name]).provenance["state"]) for name in _indexes(self._inputs)}
        if shots and "motion" in states:
            states["motion"] += " on all training videos"
        if "text" in self._inputs:
            states["text"] = self._load.text(self._inputs["text"]).state
        return states

    def chosen(self) -> dict[str, dict[str, float]]:
        """Return what validation chose: the epoch of each head, the weight of each mix, and the like."""
        heads = {name: {"epoch": head.best_epoch, **head.chosen} for name, head in self._heads.heads.items()}
        return {**heads, **{name: dict(mix) for name, mix in self._heads.mixes.items()}}


def _write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(document), sort_keys=True), encoding="utf-8")
