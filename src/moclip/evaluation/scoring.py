"""Scores of every method of a run on its test videos, from cached features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.cache.tables import Stream, shared_videos
from moclip.config.methods import METHODS
from moclip.core.tensors import pack_tensors, unpack_tensors
from moclip.encoders.zero_shot import zero_shot_logits
from moclip.errors import MoclipError
from moclip.extraction.text import ClassEmbeddings
from moclip.training.head_files import HeadFile
from moclip.training.head_inputs import FeatureLoader
from moclip.training.head_stage import predict_head
from moclip.training.selection import mix_scores


@dataclass(frozen=True, kw_only=True)
class MethodLogits:
    """The logits of one method, float32 (N, K), for the videos that it could score, in the order of `video_ids`."""

    video_ids: tuple[str, ...]
    logits: NDArray[np.float32]


Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """The logits of each method of a run, and the reason of every test video that a stream has no features of."""

    methods: Mapping[str, MethodLogits]
    rejected: Mapping[str, str]


def list_streams(inputs: Mapping[str, Path]) -> list[str]:
    """Return the streams among the inputs of a run, `motion` first."""
    return [name for name in ("motion", "appearance") if name in inputs]


def score_run(
    inputs: Mapping[str, Path], *, heads: HeadFile, methods: Sequence[str], test_ids: Sequence[str], seed: int
) -> RunScores:
    """Return the scores of every method of a run; `inputs` are as for `run_stage.write_run`."""
    load_features = FeatureLoader()
    streams = {name: load_features.stream(inputs[name]) for name in list_streams(inputs)}
    scored = {
        method: score_method(
            method,
            test_ids,
            streams=streams,
            motion_logits=lambda: load_features.stream(inputs["motion"], field="logits"),
            heads=heads,
            classes=load_features.text(inputs["text"]) if "text" in inputs else None,
            seed=seed,
        )
        for method in methods
    }
    wanted = set(test_ids)
    rejected = {
        video_id: reason
        for stream in streams.values()
        for video_id, reason in stream.rejected.items()
        if video_id in wanted
    }
    return RunScores(methods=scored, rejected=rejected)


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


def pack_scores(scores: RunScores) -> bytes:
    """Return scores as a safetensors file: logits by method, and in its note the ids of their rows and the rejects."""
    ids = {name: list(entry.video_ids) for name, entry in scores.methods.items()}
    logits = {name: entry.logits for name, entry in scores.methods.items()}
    return pack_tensors(logits, note={"video_ids": ids, "rejected": dict(scores.rejected)})


def unpack_scores(content: bytes) -> RunScores:
    """Return the scores that `pack_scores` packed."""
    logits, note = unpack_tensors(content)
    methods = {name: MethodLogits(video_ids=tuple(ids), logits=logits[name]) for name, ids in note["video_ids"].items()}
    return RunScores(methods=methods, rejected=note["rejected"])
