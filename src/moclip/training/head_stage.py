"""The stage that trains the heads of an experiment on one split, with all its seeds.

A head that was trained before is taken from the cache, no matter which experiment asked for it: a killed job, or one
with a new seed, trains only the missing heads. Jobs that need the same head train it once, since each head has a lock.
Only training and validation videos are read.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from moclip.cache.artifacts import HEADS
from moclip.cache.index import index_fingerprint, open_indexed, read_index
from moclip.cache.locks import KeyLocks
from moclip.cache.rates import Meter, note_rate
from moclip.cache.tables import Stream, shared_videos
from moclip.cache.uses import note_use
from moclip.config.methods import METHODS, list_heads
from moclip.core.cache_folder import claim_folder, read_folders
from moclip.core.digests import build_digest
from moclip.dataset.labels import LEARNED, Labels, load_labels
from moclip.dataset.manifest_table import list_class_names, read_table
from moclip.dataset.splits import draw_shots
from moclip.encoders.network_notes import Seen, check_split, read_network_digest, read_network_seen
from moclip.errors import MoclipError, ModelError
from moclip.extraction.text import digest_class_embeddings
from moclip.training.head_files import (
    HeadFile,
    TrainedHead,
    load_heads,
    rate_key,
    save_heads,
    save_seeds,
    write_history,
)
from moclip.training.head_inputs import (
    FeatureLoader,
    Fold,
    Layout,
    build_inputs,
)
from moclip.training.head_runs import HeadRun
from moclip.training.selection import WEIGHTS, choose, mix_scores
from moclip.versions import HEAD_VERSION

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]


def train_heads(
    runs: Sequence[HeadRun],
    *,
    output: Path,
    history: Path,
    manifest: Path,
    split: int,
    cache_dir: Path,
    neighbors: Callable[[], Sequence[HeadRun]] = tuple,
) -> None:
    """Write the heads of some seeds of an experiment on one split, and their learning curves.

    Each head is the same, bit for bit, as if it had been trained alone. If a head had to be trained, PyTorch and the
    features are loaded, and the missing heads of the runs that `neighbors` returns are trained into the cache as well.

    Raises:
        ModelError: A motion network was trained for another split, or is not the one behind its embeddings.
    """
    folder = claim_folder(cache_dir, HEADS)
    with KeyLocks(folder) as locks:
        folders = [folder, *read_folders(cache_dir, HEADS)]
        trainer = _Trainer(manifest=manifest, split=split, folders=folders, locks=locks)
        found = trainer.find([_Wanted(run=run, method=name) for run in runs for name in list_heads(run.methods)])
        num_cached = len(found) - trainer.num_trained
        files = {run.seed: trainer.describe(run, found=found) for run in runs}
        save_seeds(output, files)
        write_history(history, files)
        note_use(cache_dir, output=output, kind=HEADS, keys=sorted({trainer.key(wanted) for wanted in found}))
        if trainer.num_trained:
            trainer.train_neighbors(neighbors())
        _log.info("%d heads trained, %d taken from the cache", trainer.num_trained, num_cached)


def list_missing_heads(runs: Sequence[HeadRun], *, manifest: Path, split: int, cache_dir: Path) -> set[str]:
    """Return the keys of the heads that a job of `train_heads` would train.

    Raises:
        MoclipError: A file that a key follows from is missing or not readable.
    """
    folders = read_folders(cache_dir, HEADS)
    # Locks elsewhere: nothing is written to the cache.
    with TemporaryDirectory(prefix="moclip-") as elsewhere, KeyLocks(Path(elsewhere)) as locks:
        trainer = _Trainer(manifest=manifest, split=split, folders=folders, locks=locks)
        keys = {trainer.key(_Wanted(run=run, method=name)) for run in runs for name in list_heads(run.methods)}
    return {key for key in keys if not any((folder / f"{key}.safetensors").is_file() for folder in folders)}


@dataclass(frozen=True, kw_only=True)
class _Subsets:
    """The training and validation videos of a run."""

    train: Labels
    val: Labels


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wanted:
    """A head of a run."""

    run: HeadRun
    method: str


class _Trainer:
    """What the heads of one job share: labels, features, and the cache of heads."""

    def __init__(self, *, manifest: Path, split: int, folders: Sequence[Path], locks: KeyLocks) -> None:
        # New heads are kept in the first folder.
        self._manifest, self._split, self._folders, self._locks = manifest, split, folders, locks
        self._load = FeatureLoader()
        self._keys: dict[_Wanted, str] = {}
        self.num_trained = 0

    @cached_property
    def _whole(self) -> _Subsets:
        train, val = (load_labels(self._manifest, split=self._split, subset=name) for name in ("train", "val"))
        return _Subsets(train=train, val=val)

    @cached_property
    def _num_classes(self) -> int:
        return len(list_class_names(read_table(self._manifest)))

    def find(self, wanted: Sequence[_Wanted]) -> dict[_Wanted, TrainedHead]:
        """Return all wanted heads, from the cache or trained; those that another job trains are waited for last."""
        for run in {id(head.run): head.run for head in wanted}.values():
            if run.network is not None:
                check_network(run.network, motion=run.motion, split=self._split)
        found = {head: self._find_free(head) for head in wanted}
        return {head: state or self._wait_for(head) for head, state in found.items()}

    def train_neighbors(self, runs: Sequence[HeadRun]) -> None:
        """Train the missing heads of other runs into the cache, but those that another job trains."""
        for run in runs:
            for method in filter(run.feeds, list_heads(run.methods)):
                try:
                    self._find_free(_Wanted(run=run, method=method))
                except MoclipError as error:  # the job of that run reports it
                    _log.warning("a head of another experiment is left to its own job: %s", error)

    def describe(self, run: HeadRun, *, found: Mapping[_Wanted, TrainedHead]) -> HeadFile:
        """Return the heads of one run with its mixes, what shaped them, and its features."""
        subsets = self._draw(run)
        heads = {wanted.method: head for wanted, head in found.items() if wanted.run is run}
        mixes = {}
        if "score_fusion" in run.methods:
            mixes["score_fusion"] = {"motion": self._choose_mix(run, heads["appearance"], subsets=subsets)}
        provenance = {
            "features": {name: self._fingerprint(path) for name, path in run.indexes.items()},
            "split": self._split,
            "seed": run.seed,
            "shots": run.shots,
        }
        return HeadFile(heads=heads, mixes=mixes, seen=self._seen(subsets), provenance=provenance)

    def _fingerprint(self, index: Path) -> str:
        return index_fingerprint(index, split=self._split, subsets=LEARNED)

    def _seen(self, subsets: _Subsets) -> Seen:
        both = (subsets.train, subsets.val)
        return Seen(
            split=self._split,
            video_ids=tuple(video_id for labels in both for video_id in labels.video_ids),
            groups=tuple({group for labels in both for group in labels.groups.values()}),
        )

    def _draw(self, run: HeadRun) -> _Subsets:
        # Validation is cut as training is: a choice by a thousand labels would be no few-shot result.
        drawn = [
            labels.keep(
                draw_shots(labels.class_index, groups=labels.groups, shots=run.shots, split=self._split, seed=run.seed)
            )
            for labels in (self._whole.train, self._whole.val)
        ]
        return _Subsets(train=drawn[0], val=drawn[1])

    def _find_free(self, wanted: _Wanted) -> TrainedHead | None:
        """Return a head from the cache or train it; None if another job trains it at this moment."""
        cached = self._cached(wanted)
        if cached is not None or not self._locks.take_free([self.key(wanted)]):
            return cached
        return self._find_locked(wanted)

    def _wait_for(self, wanted: _Wanted) -> TrainedHead:
        self._locks.wait_for(self.key(wanted))
        return self._find_locked(wanted)

    def _find_locked(self, wanted: _Wanted) -> TrainedHead:
        try:
            return self._cached(wanted) or self._train_into_cache(wanted)
        finally:
            self._locks.release([self.key(wanted)])

    def _cached(self, wanted: _Wanted) -> TrainedHead | None:
        name = self._path(wanted).name
        for path in filter(Path.is_file, (folder / name for folder in self._folders)):
            try:
                return load_heads(path).heads[wanted.method]
            except (ModelError, KeyError) as error:
                _log.warning("%s; it is trained again", error)
        return None

    def _train_into_cache(self, wanted: _Wanted) -> TrainedHead:
        subsets, meter = self._draw(wanted.run), Meter()
        head = self._train(wanted.run, wanted.method, subsets=subsets, meter=meter)
        note_rate(self._folders[0].parent, stage="head", key=rate_key(wanted.run.config), meter=meter)
        save_heads(self._path(wanted), heads={wanted.method: head}, seen=self._seen(subsets))
        self.num_trained += 1
        return head

    def _path(self, wanted: _Wanted) -> Path:
        return self._folders[0] / f"{self.key(wanted)}.safetensors"

    def key(self, wanted: _Wanted) -> str:
        """Return the digest of all that a head is made from."""
        if wanted not in self._keys:
            self._keys[wanted] = self._identity(wanted.run, wanted.method, subsets=self._draw(wanted.run))
        return self._keys[wanted]

    def _identity(self, run: HeadRun, method: str, *, subsets: _Subsets) -> str:
        streams = {name: self._fingerprint(run.indexes[name]) for name in METHODS[method].streams}
        uses_text = run.text is not None and "text" in METHODS[method].needs
        text = digest_class_embeddings(run.text) if run.text is not None and uses_text else ""
        labels = [sorted(part.class_index.items()) for part in (subsets.train, subsets.val)]
        config = run.config_of(method).describe()
        numbers = [HEAD_VERSION, self._split, run.seed, self._num_classes]
        return build_digest(method, streams, text, labels, config, numbers, version("torch"), version("numpy"))

    def _train(self, run: HeadRun, method: str, *, subsets: _Subsets, meter: Meter) -> TrainedHead:
        # Imported here: a job whose heads are all cached needs none of the seconds that torch takes.
        from moclip.training.head_training import train_head, train_zero_shot_head  # noqa: PLC0415

        config = run.config_of(method)
        streams = {name: self._load.stream(run.indexes[name]) for name in METHODS[method].streams}
        num_frames = self._num_frames(streams)
        meter.start()
        folds: list[Fold] = []
        layout = Layout()
        for name, labels in (("train", subsets.train), ("val", subsets.val)):
            ids = _with_features(labels, streams=streams)
            inputs, layout = build_inputs(
                method, ids, streams=streams, config=config, seed=run.seed, subset=name, num_frames=num_frames
            )
            redraw = self._redraw(run, method, ids, streams=streams, subset=name) if config.views else None
            groups = tuple(labels.groups[video_id] for video_id in ids)
            folds.append(Fold(inputs=inputs, labels=labels.select(ids), groups=groups, redraw=redraw))
        if method == "zero_shot_head" and run.text is not None:
            classes = self._load.text(run.text).embeddings
            return train_zero_shot_head(folds[0], folds[1], classes=classes, config=config, seed=run.seed)
        head = train_head(
            folds[0], folds[1], num_classes=self._num_classes, config=config, seed=run.seed, layout=layout
        )
        meter.add(1)
        meter.stop()
        _log.info("%s, seed %d: chosen: %s", method, run.seed, {"epoch": head.best_epoch, **head.chosen})
        return head

    def _num_frames(self, streams: Mapping[str, Stream]) -> int:
        # Those of a test video are none of its business.
        learned = [video_id for part in (self._whole.train, self._whole.val) for video_id in part.video_ids]
        return streams["appearance"].most_frames(learned) if "appearance" in streams else 0

    def _redraw(
        self, run: HeadRun, method: str, ids: Sequence[str], *, streams: Mapping[str, Stream], subset: str
    ) -> Callable[[int], Floats] | None:
        """Return what gives the inputs of an epoch, with another view of each video's motion; None without motion."""
        if "motion" not in streams:
            return None
        views = self._load.views(run.indexes["motion"])
        config, num_frames = run.config_of(method), self._num_frames(streams)

        def inputs(epoch: int) -> Floats:
            seen = {**streams, "motion": views.draw(streams["motion"], seed=run.seed, epoch=epoch)}
            return build_inputs(
                method, ids, streams=seen, config=config, seed=run.seed, subset=subset, num_frames=num_frames
            )[0]

        return inputs

    def _choose_mix(self, run: HeadRun, head: TrainedHead, *, subsets: _Subsets) -> float:
        indexes = run.indexes
        streams = {name: self._load.stream(indexes[name]) for name in ("motion", "appearance")}
        ids = shared_videos(subsets.val.video_ids, streams=streams.values())
        if not ids:
            raise ModelError("methods: `score_fusion` chooses its weight on validation videos and there are none")
        logits = self._load.stream(indexes["motion"], field="logits").select(ids)
        own = predict_head("appearance", replace(head, state=head.selection_state), ids, streams=streams, seed=run.seed)

        def mixed(weight: float) -> Floats:
            return mix_scores(own, logits, weight=weight)

        return choose(WEIGHTS, logits=mixed, labels=subsets.val.select(ids))


def predict_head(
    method: str, head: TrainedHead, video_ids: Sequence[str], *, streams: Mapping[str, Stream], seed: int
) -> Floats:
    """Return the logits of a head, float32 (N, K), for these videos of the subset that it is asked about."""
    from moclip.training.head_strategy import predict_logits  # noqa: PLC0415 (torch)

    own = {name: streams[name] for name in METHODS[method].streams}
    inputs, layout = build_inputs(
        method,
        video_ids,
        streams=own,
        config=head.config,
        seed=seed,
        subset="test",
        num_frames=_count_frames(head, streams=own),
    )
    if layout != head.layout:
        raise ModelError(f"{method}: expected inputs {head.layout}, found {layout}; was it trained on these features?")
    return predict_logits(head, inputs)


def _count_frames(head: TrainedHead, *, streams: Mapping[str, Stream]) -> int:
    """The number of frames of a video that a head sees."""
    if head.config.pooling != "concat" or "appearance" not in streams:
        return head.layout.frames
    return head.layout.appearance // int(streams["appearance"].values.shape[1])


def _with_features(labels: Labels, *, streams: Mapping[str, Stream]) -> list[str]:
    ids = shared_videos(labels.video_ids, streams=streams.values())
    if len(ids) < len(labels.video_ids):
        lost = len(labels.video_ids) - len(ids)
        _log.warning("%d of %d videos have no features and are left out", lost, len(labels.video_ids))
    return ids


def check_network(path: Path, *, motion: Path | None, split: int) -> Seen:
    """Return what shaped the motion network at `path`, after checking that it may feed the heads of a split.

    Raises:
        ModelError: It was trained for another split, or the embeddings behind `motion` are of other weights.
    """
    seen = read_network_seen(path)
    check_split(seen, split=split, path=path)
    if motion is not None:
        features = read_index(motion)
        with open_indexed(features, features.shards[0]) as shard:
            expected = shard.parameters.get("network")
        if expected != read_network_digest(path):
            raise ModelError(
                f"{path}: expected the motion network behind {motion}, found other weights; run again, which makes "
                "the latter again",
                damaged=motion,
            )
    return seen
