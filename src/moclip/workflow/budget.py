"""Estimate a whole run from its configuration alone: hours and bytes of each stage, with neither videos nor weights.

A stage takes the rate that jobs on this machine noted for its settings. Without one, a model takes its
multiply-accumulates over a stated rate, and a decoder a stated time per video.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moclip.cache.rates import read_rate
from moclip.config.dataset_settings import Dataset
from moclip.config.experiments import list_network_runs, list_runs, list_used
from moclip.config.methods import list_heads
from moclip.config.settings import Settings
from moclip.core.machine import has_gpu
from moclip.dataset.demo import RENDERED, build_lists, list_demo_videos
from moclip.dataset.layouts import read_listing
from moclip.errors import DatasetError, ModelError
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.motion import build_motion_extractor
from moclip.training import motion_stage
from moclip.workflow.estimate import ASSUMED_SECONDS
from moclip.workflow.feature_sets import pool_of

# Measured on one core (docs/cluster.md, docs/appearance.md, docs/motion_network.md): seconds of decoding a video of
# UCF101, and multiply-accumulates per second of ViT-B/32, of EfficientNet-B0, and of training it.
_MOTION_SECONDS = {"original": 0.014, "transcode": 0.15, "auto": 0.15}
_FRAME_SECONDS = 0.016  # all frames of one video
_MACS = {"appearance": 42e9, "motion_embedding": 22e9, "motion_network": 9e9}

# Never measured: a GPU against one core.
_GPU_TIMES = 100

_TRAINING_PASSES = 3  # forward, and backward for inputs and for weights

# Bytes of the motion of a frame (docs/motion.md), frames of a video of UCF101, bytes of a row besides its embeddings.
_FRAME_BYTES, _NUM_FRAMES, _ROW_BYTES = 400, 186, 350

_TRAIN_FRACTION = 0.7  # of the official lists


@dataclass(frozen=True, kw_only=True)
class Videos:
    """Numbers of videos: all, and those that a split trains on; `source` says where they are from."""

    num_all: int
    num_train: int
    source: str


@dataclass(frozen=True, kw_only=True)
class StageBudget:
    """The cost of one stage of a variant: hours of one core or of one GPU, None for stages that use none."""

    name: str
    core_hours: float
    gpu_hours: float | None
    num_bytes: float
    basis: str


def count_videos(dataset: Dataset, *, num_videos: int | None) -> Videos:
    """Return the numbers of videos: as given, else of the lists, which need no videos in most layouts.

    Raises:
        DatasetError: The lists are missing or wrong, and no number is given.
    """
    kept = 1 - dataset.validation_fraction
    if num_videos is not None:
        num_train = round(num_videos * _TRAIN_FRACTION * kept)
        return Videos(
            num_all=num_videos, num_train=num_train, source=f"as given, {_TRAIN_FRACTION:.0%} of them to train"
        )
    if dataset.generate != "none":
        videos = list_demo_videos(dataset.generate)
        trained = build_lists(videos, class_names=RENDERED[dataset.generate].class_names)["trainlist01.txt"]
        num_train = round(trained.count("\n") * kept)
        return Videos(num_all=len(videos), num_train=num_train, source="rendered first")
    # Lists of videos are read without the videos; a listing of folders needs them.
    root = dataset.root if dataset.layout == "folders" else "."
    try:
        listing = read_listing(dataset.model_copy(update={"root": root}))
    except DatasetError as error:
        raise DatasetError(f"{error}; or give the number of videos with --videos") from error
    num_train = sum(video.subsets[listing.splits[0]] == "train" for video in listing.videos)
    return Videos(num_all=len(listing.videos), num_train=num_train, source=f"in {dataset.lists or dataset.root}")


def list_budgets(settings: Settings, *, videos: Videos) -> Iterator[StageBudget]:
    """Yield the cost of each stage whose work grows with the number of videos, as if nothing were cached.

    Raises:
        ModelError: There is no such encoder or backbone.
    """
    for name in list_used(settings, "motion"):
        yield _decode_motion(settings, name, videos=videos)
    for name in list_used(settings, "appearance"):
        yield _embed_frames(settings, name, videos=videos)
    for name in list_used(settings, "motion_network"):
        yield from _train_and_embed(settings, name, videos=videos)
    num_heads = sum(len(list_heads(settings.experiments[run.experiment].methods)) for run in list_runs(settings))
    rate = read_rate(Path(settings.cache_dir), stage="head", key="", assumed=ASSUMED_SECONDS["head"])
    yield StageBudget(
        name=f"head, {num_heads} of them",
        core_hours=num_heads * rate.unit_seconds / 3600,
        gpu_hours=None,
        num_bytes=0,
        basis=f"{rate.unit_seconds:.3g} s each, {rate.source}",
    )


def _decode_motion(settings: Settings, name: str, *, videos: Videos) -> StageBudget:
    entry = settings.motion[name]
    key = pool_of(build_motion_extractor(entry), cache_dir=Path(settings.cache_dir)).name
    measured = _measured_seconds(settings, stage="motion", key=key)
    seconds = _MOTION_SECONDS[entry.source] if measured is None else measured
    return StageBudget(
        name=f"motion/{name}",
        core_hours=videos.num_all * seconds / 3600,
        gpu_hours=None,
        num_bytes=videos.num_all * _NUM_FRAMES * _FRAME_BYTES,
        basis=f"{'assumed' if measured is None else 'measured'} {seconds:.3g} s each; assumed {_NUM_FRAMES} frames",
    )


def _embed_frames(settings: Settings, name: str, *, videos: Videos) -> StageBudget:
    from moclip.encoders.clip import embedding_dim_of  # noqa: PLC0415 (seconds to import)
    from moclip.training.mac_counting import count_image_tower  # noqa: PLC0415

    entry = settings.appearance[name]
    num_frames = 1 if entry.frames.policy == "middle" else entry.frames.count
    macs = count_image_tower(entry)[1]
    try:
        key = pool_of(build_appearance_extractor(entry), cache_dir=Path(settings.cache_dir)).name
    except ModelError:
        key = ""  # weights that are not here were never used
    measured = _measured_seconds(settings, stage="appearance", key=key, device=entry.device)
    return _with_model(
        f"appearance/{name}",
        num_units=videos.num_all,
        macs=macs * num_frames,
        seconds=measured,
        decode_seconds=_FRAME_SECONDS,
        num_bytes=videos.num_all * (num_frames * embedding_dim_of(entry.model) * 4 + _ROW_BYTES),
        note=f"{macs / 1e9:.3g} GMAC per frame x {num_frames}",
    )


def _train_and_embed(settings: Settings, name: str, *, videos: Videos) -> Iterator[StageBudget]:
    from moclip.training.mac_counting import outline_network  # noqa: PLC0415 (seconds to import)

    entry = settings.motion_network[name]
    num_runs = sum(run.experiment == name for run in list_network_runs(settings))
    parameters, macs, width = outline_network(entry.backbone, num_classes=1, input_px=entry.input_px)
    train, own = entry.train, entry.embedding
    yield _with_model(
        f"motion_network/{name}, {num_runs} of them",
        num_units=num_runs * videos.num_train * train.epochs,
        macs=macs * train.num_segments * _TRAINING_PASSES,
        seconds=_measured_seconds(
            settings, stage="motion_network", key=motion_stage.rate_key(entry), device=entry.device
        ),
        num_bytes=num_runs * parameters * 4,
        note=f"{macs / 1e9:.3g} GMAC x {train.num_segments * _TRAINING_PASSES} passes x {train.epochs} epochs",
    )
    passes = own.num_segments * own.crops * (2 if own.flips else 1)
    views = own.views.count * own.views.num_segments * videos.num_train / videos.num_all
    num_rows = num_runs * (videos.num_all + own.views.count * videos.num_train)
    yield _with_model(
        f"motion_embedding/{name}, {num_runs} of them",
        num_units=num_runs * videos.num_all,
        macs=macs * (passes + views),
        num_bytes=num_rows * (width * (2 if own.store == "float16" else 4) + _ROW_BYTES),
        note=f"{macs / 1e9:.3g} GMAC x {passes + views:.4g} crops",
    )


def _with_model(
    name: str,
    *,
    num_units: float,
    macs: float,
    num_bytes: float,
    note: str,
    seconds: float | None = None,
    decode_seconds: float = 0.0,
) -> StageBudget:
    rate = _MACS[name.split("/", maxsplit=1)[0]]
    each = decode_seconds + macs / rate if seconds is None else seconds
    assumed = (
        f"assumed {rate / 1e9:.3g} GMAC/s of a core" if seconds is None else f"core measured, {seconds:.3g} s each"
    )
    return StageBudget(
        name=name,
        core_hours=num_units * each / 3600,
        gpu_hours=num_units * macs / (rate * _GPU_TIMES) / 3600,
        num_bytes=num_bytes,
        basis=f"{note}; {assumed}",
    )


def _measured_seconds(settings: Settings, *, stage: str, key: str, device: str = "cpu") -> float | None:
    """Return the processor seconds of a unit as noted for exactly these settings; None if a GPU did the work."""
    rate = read_rate(Path(settings.cache_dir), stage=stage, key=key, assumed=(0.0, 0.0))
    if "other settings" in rate.source or not rate.source.startswith("measured") or (device != "cpu" and has_gpu()):
        return None
    return rate.unit_seconds
