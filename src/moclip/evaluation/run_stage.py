"""The stage that tests one run and writes its predictions, metrics and provenance."""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from moclip.cache.artifacts import artifact_lock, keep, read_artifact
from moclip.cache.index import index_fingerprint, read_index
from moclip.cache.uses import note_use
from moclip.config.head_kinds import HEAD_KINDS
from moclip.config.methods import fitted_on
from moclip.core.code_digest import module_path, remember_code_digest
from moclip.core.digests import build_digest, digest_file
from moclip.core.files import replace_atomically
from moclip.dataset.labels import Labels, load_labels
from moclip.dataset.lists import SUBSETS
from moclip.dataset.manifest_table import list_class_names, read_table
from moclip.encoders.network_notes import check_split
from moclip.evaluation.evaluate import evaluate_run, write_metrics, write_predictions
from moclip.evaluation.scoring import RunScores, list_streams, pack_scores, score_run, unpack_scores
from moclip.extraction.text import digest_class_embeddings, read_class_embeddings
from moclip.training.head_files import HeadFile, load_heads, read_seed_digests
from moclip.training.head_stage import check_network

_log = logging.getLogger(__name__)

_SCORES = "scores.safetensors"

_LIBRARIES = ("av", "h5py", "numpy", "open_clip_torch", "pandas", "snakemake", "timm", "torch", "torchvision")


def write_run(
    folder: Path,
    *,
    manifest: Path,
    heads: Path,
    inputs: Mapping[str, Path],
    methods: Sequence[str],
    shots: int,
    config: Mapping[str, Any],
    split: int,
    seed: int,
    rejected_test_videos: str,
    commit: str,
    cache_dir: Path,
) -> None:
    """Test every method of a run on the test subset and write predictions.tsv, metrics.json and run.yaml.

    `heads` is the file of the experiment's heads on the split. `inputs` holds the indexes of the streams (`motion`,
    `appearance`), the class embeddings (`text`) and the motion network behind the first (`network`). `config`, the
    experiment and its variants, is only noted. Scores of equal models on equal features are taken from `cache_dir`.

    Raises:
        DatasetError: A test video, or one of its group, shaped a model that is tested; or it has no features and no
            reason.
        ModelError: A model was trained for another split, or is not the one that was noted.
    """
    test, train = (load_labels(manifest, split=split, subset=subset) for subset in ("test", "train"))
    own, head = load_heads(heads, seed=seed), read_seed_digests(heads)[seed]
    check_split(own.seen, split=split, path=heads)
    seen = [own.seen]
    if "network" in inputs:
        seen.append(check_network(inputs["network"], motion=inputs["motion"], split=split))
    scores, key = _find_scores(inputs, head=head, heads=own, methods=methods, test=test, seed=seed, cache_dir=cache_dir)
    result = evaluate_run(
        scores.methods,
        test_ids=test.video_ids,
        class_index=test.select(test.video_ids),
        class_names=list_class_names(read_table(manifest)),
        training_classes=train.select(train.video_ids),
        rejected=scores.rejected,
        rejected_test_videos=rejected_test_videos,
        encoders=_encoder_states(inputs, shots=shots),
        trained_on={video_id for part in seen for video_id in part.video_ids},
        groups=test.groups,
        trained_on_groups={group for part in seen for group in part.groups},
        fitted_on={name: fitted_on(name, refit=_is_refit(own)) for name in methods},
        marks=_list_marks(own, methods=methods),
        notes={"chosen": _list_chosen(own)},
    )
    write_predictions(folder / "predictions.tsv", result=result)
    write_metrics(folder / "metrics.json", result=result)
    about = {"split": split, "seed": seed, "commit": commit, "config": config}
    _write_yaml(folder / "run.yaml", about | _describe_inputs(inputs, head=head, split=split))
    note_use(cache_dir, output=folder / "predictions.tsv", kind="predictions", keys=[key])


def _describe_inputs(inputs: Mapping[str, Path], *, head: str, split: int) -> dict[str, Any]:
    return {
        "libraries": {name: version(name) for name in _LIBRARIES},
        "features": {name: _describe_features(inputs[name], split=split) for name in list_streams(inputs)},
        "models": {name: digest_file(inputs[name]) for name in ("network", "text") if name in inputs},
        "head": head,
    }


def _describe_features(index: Path, *, split: int) -> dict[str, Any]:
    # Of the subsets of this split alone: a video outside them, or another number of shards, changes nothing of a run.
    return {"index": str(index), "fingerprint": index_fingerprint(index, split=split, subsets=SUBSETS)}


def _find_scores(
    inputs: Mapping[str, Path],
    *,
    head: str,
    heads: HeadFile,
    methods: Sequence[str],
    test: Labels,
    seed: int,
    cache_dir: Path,
) -> tuple[RunScores, str]:
    """Return the scores of every method, from the cache if it has them, and their key."""
    split = heads.seen.split
    content = {name: index_fingerprint(inputs[name], split=split, subsets=["test"]) for name in list_streams(inputs)}
    text = digest_class_embeddings(inputs["text"]) if "text" in inputs else ""
    code = remember_code_digest(module_path("moclip.evaluation.scoring"), memo=cache_dir / "code")
    libraries = [version("numpy"), version("torch")]
    key = build_digest(code, libraries, head, content, text, sorted(methods), test.video_ids, seed)
    with artifact_lock(cache_dir, kind="predictions", key=key):
        found = read_artifact(cache_dir, kind="predictions", key=key)
        if found is not None:
            _log.info("scores taken from the cache")
            return unpack_scores(found[_SCORES]), key
        scores = score_run(inputs, heads=heads, methods=methods, test_ids=test.video_ids, seed=seed)
        keep(cache_dir, kind="predictions", key=key, files={_SCORES: pack_scores(scores)})
        _log.info("scores computed")
    return scores, key


def _encoder_states(inputs: Mapping[str, Path], *, shots: int) -> dict[str, str]:
    """Return the state of each encoder; one that saw more labels than a few-shot run is marked."""
    states = {name: str(read_index(inputs[name]).provenance["state"]) for name in list_streams(inputs)}
    if shots and "motion" in states:
        states["motion"] += " on all training videos"
    if "text" in inputs:
        states["text"] = read_class_embeddings(inputs["text"]).state
    return states


def _list_marks(heads: HeadFile, *, methods: Sequence[str]) -> dict[str, str]:
    """Return a mark for each head that sees the order of frames, if the run lacks the control of that."""
    if "shuffled_frames" in methods:
        return {}
    ordered = (
        name for name, head in heads.heads.items() if head.layout.frames and HEAD_KINDS[head.config.kind].ordered
    )
    return dict.fromkeys(ordered, "no control with shuffled frames")


def _is_refit(heads: HeadFile) -> bool:
    # The heads of a run have one `refit`, those of a fixed kind as well.
    return any(head.config.refit for head in heads.heads.values())


def _list_chosen(heads: HeadFile) -> dict[str, dict[str, float]]:
    """Return the choices made on validation: the epoch of each head, the weight of each mix, and the like."""
    chosen = {name: {"epoch": head.best_epoch, **head.chosen} for name, head in heads.heads.items()}
    return {**chosen, **{name: dict(mix) for name, mix in heads.mixes.items()}}


def _write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(document), sort_keys=True), encoding="utf-8")
