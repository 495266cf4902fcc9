"""The test of one run: every method on the test subset, read once, and the files that say what came of it."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from moclip.class_embeddings import ClassEmbeddings, read_class_embeddings
from moclip.errors import MoclipError
from moclip.evaluation import MethodLogits, evaluate_run, write_metrics, write_predictions
from moclip.features import read_index
from moclip.files import replace_atomically
from moclip.heads import HEAD_STREAMS, HeadFile, concatenate_streams, load_heads, predict_logits
from moclip.manifest import list_class_names, read_manifest
from moclip.streams import Stream, index_fingerprint, load_stream, shared_videos
from moclip.training import load_labels
from moclip.zero_shot import zero_shot_logits

_LIBRARIES = ("av", "h5py", "numpy", "open_clip_torch", "pandas", "snakemake", "timm", "torch", "torchvision")


def write_run(
    folder: Path,
    *,
    manifest: Path,
    head: Path,
    inputs: Mapping[str, Path],
    config: Mapping[str, Any],
    split: int,
    seed: int,
    rejected_test_videos: str,
    commit: str,
) -> None:
    """Test every method of a run on the test subset and write predictions.tsv, metrics.json and run.yaml.

    `inputs` holds the indexes of the streams (`motion`, `appearance`) and the class embeddings (`text`); `config` the
    experiment and its variants, resolved.

    Raises:
        DatasetError: A test video shaped a model that is tested, or has neither features nor a reason.
    """
    test = load_labels(manifest, split=split, subset="test")
    streams = {name: load_stream(inputs[name]) for name in ("motion", "appearance") if name in inputs}
    classes = read_class_embeddings(inputs["text"]) if "text" in inputs else None
    heads = load_heads(head)
    methods = {
        method: score_method(
            method,
            test.video_ids,
            streams=streams,
            motion_logits=lambda: load_stream(inputs["motion"], field="logits"),
            heads=heads,
            classes=classes,
        )
        for method in config["experiment"]["methods"]
    }
    result = evaluate_run(
        methods,
        test_ids=test.video_ids,
        class_index=test.select(test.video_ids),
        class_names=list_class_names(read_manifest(manifest)),
        rejected=dict(pair for stream in streams.values() for pair in stream.rejected.items()),
        rejected_test_videos=rejected_test_videos,
        encoders=_encoder_states(inputs, classes=classes),
        trained_on=heads.trained_on,
    )
    write_predictions(folder / "predictions.tsv", result=result)
    write_metrics(folder / "metrics.json", result=result)
    document = {
        "split": split,
        "seed": seed,
        "commit": commit,
        "config": config,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "features": {name: index_fingerprint(path) for name, path in inputs.items() if name != "text"},
    }
    _write_yaml(folder / "run.yaml", document)


def score_method(
    method: str,
    video_ids: Sequence[str],
    *,
    streams: Mapping[str, Stream],
    motion_logits: Callable[[], Stream],
    heads: HeadFile,
    classes: ClassEmbeddings | None,
) -> MethodLogits:
    """Return the logits of a method for those of some videos that have the features it needs.

    `motion_logits` gives the motion network's own logits, which `motion` alone asks for.

    Raises:
        MoclipError: Zero-shot without class embeddings.
    """
    needed = HEAD_STREAMS.get(method, ("motion",) if method == "motion" else ("appearance",))
    chosen = {name: streams[name] for name in needed}
    ids = shared_videos(video_ids, streams=chosen.values())
    if method == "motion":
        logits = motion_logits().select(ids)
    elif method == "zero_shot":
        if classes is None:
            raise MoclipError("zero_shot: expected class embeddings, found none; name a text variant")
        logits = zero_shot_logits(chosen["appearance"].select(ids), classes.embeddings)
    else:
        saved = heads.heads[method]
        embeddings = {name: stream.select(ids) for name, stream in chosen.items()}
        logits = predict_logits(saved.state, concatenate_streams(embeddings, normalise=saved.config.normalise))
    return MethodLogits(video_ids=tuple(ids), logits=np.asarray(logits, np.float32))


def _encoder_states(inputs: Mapping[str, Path], *, classes: ClassEmbeddings | None) -> dict[str, str]:
    states = {name: str(read_index(path).provenance["state"]) for name, path in inputs.items() if name != "text"}
    return states | ({"text": classes.state} if classes else {})


def _write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(document), sort_keys=True), encoding="utf-8")
