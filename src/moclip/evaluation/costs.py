"""The cost of each method: parameters, multiply-accumulates, milliseconds and bytes per video."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from moclip.cache.index import read_index
from moclip.cache.pool import pool_folder
from moclip.cache.reader import Shard
from moclip.cache.timings import Timing, read_timings
from moclip.config.methods import METHODS
from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant
from moclip.core.files import write_tsv
from moclip.training.head_files import HeadFile, load_heads


@dataclass(frozen=True, kw_only=True)
class CostRun:
    """One run that stands for its experiment: its heads, and the models and features behind them, by name.

    `features` maps the stages `motion`, `motion_embedding` and `appearance` to their indexes.
    """

    experiment: str
    methods: tuple[str, ...]
    head: Path
    seed: int
    features: Mapping[str, Path]
    appearance: AppearanceVariant | None
    motion_network: MotionNetworkVariant | None
    network: Path | None

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "CostRun":
        """Return the run that an engine describes with texts and numbers alone."""
        return cls(
            experiment=entry["experiment"],
            methods=tuple(entry["methods"]),
            head=Path(entry["head"]),
            seed=entry["seed"],
            features={name: Path(path) for name, path in entry["features"].items()},
            appearance=AppearanceVariant(**entry["appearance"]) if "appearance" in entry else None,
            motion_network=MotionNetworkVariant(**entry["motion_network"]) if "motion_network" in entry else None,
            network=Path(entry["network"]) if entry.get("network") else None,
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A row of the table. Parameters: those of the head, and those of everything that a video passes through.

    `macs` counts multiply-accumulates a video, half the floating-point operations. `*_processor_ms` is the time a video
    that all cores spend on a stage, `*_wall_ms` the time that passes on the clock in one job, which other programs
    lengthen; both include the start of the stage's models. They are None if no row of the stage was timed.
    `cache_bytes` is the size of all features behind a method, a video.
    """

    experiment: str
    method: str
    trained_parameters: int
    total_parameters: int
    macs: int
    motion_processor_ms: float | None
    motion_wall_ms: float | None
    motion_embedding_processor_ms: float | None
    motion_embedding_wall_ms: float | None
    appearance_processor_ms: float | None
    appearance_wall_ms: float | None
    cache_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Model:
    parameters: int
    macs: int


def write_costs(output: Path, *, runs: Sequence[CostRun], dataset: str, cache_dir: Path) -> None:
    """Write the table of costs of a dataset."""
    clock = _Clock(cache_dir=cache_dir, dataset=dataset)
    models = _Models()
    costs = [
        _cost(method, run=run, heads=heads, models=models, clock=clock)
        for run in runs
        for heads in [load_heads(run.head, seed=run.seed)]
        for method in METHODS
        if method in run.methods
    ]
    write_tsv(output, header=[field.name for field in fields(Cost)], rows=map(astuple, costs), num_digits=3)


def _cost(method: str, *, run: CostRun, heads: HeadFile, models: "_Models", clock: "_Clock") -> Cost:
    streams = METHODS[method].streams
    used: list[_Model] = []
    if "appearance" in streams and run.appearance:
        used.append(models.encoder(run.appearance))
    if "motion" in streams and run.network and run.motion_network:
        used.append(models.network(run.network, variant=run.motion_network))
    name = "appearance" if method == "score_fusion" else method
    head = models.head(heads, name) if name in heads.heads else _Model(parameters=0, macs=0)
    stages = [stage for stage in run.features if stage.split("_")[0] in streams]
    times: dict[str, float | None] = {}
    for stage in _STAGES:
        processor, wall = clock.milliseconds(run.features[stage]) if stage in stages else (None, None)
        times |= {f"{stage}_processor_ms": processor, f"{stage}_wall_ms": wall}
    return Cost(
        experiment=run.experiment,
        method=method,
        trained_parameters=head.parameters,
        total_parameters=head.parameters + sum(model.parameters for model in used),
        macs=head.macs + sum(model.macs for model in used),
        cache_bytes=sum(_bytes_per_video(run.features[stage]) for stage in stages),
        **times,
    )


_STAGES = ("motion", "motion_embedding", "appearance")


class _Models:
    """The size of each model; encoders and networks are loaded once for each variant."""

    def __init__(self) -> None:
        self._encoders: dict[AppearanceVariant, _Model] = {}
        self._networks: dict[Path, _Model] = {}

    def encoder(self, variant: AppearanceVariant) -> _Model:
        """Return the image tower of an appearance variant, over all frames of a video."""
        from moclip.training.mac_counting import count_image_tower  # noqa: PLC0415 (seconds to import)

        if variant not in self._encoders:
            parameters, macs = count_image_tower(variant.model_copy(update={"device": "cpu", "precision": "fp32"}))
            num_frames = 1 if variant.frames.policy == "middle" else variant.frames.count
            self._encoders[variant] = _Model(parameters=parameters, macs=macs * num_frames)
        return self._encoders[variant]

    def network(self, path: Path, *, variant: MotionNetworkVariant) -> _Model:
        """Return a motion network, over all segments and crops of a video."""
        from moclip.training.mac_counting import count_network  # noqa: PLC0415

        if path not in self._networks:
            parameters, macs = count_network(path, input_px=variant.input_px)
            embedding = variant.embedding
            passes = embedding.num_segments * embedding.crops * (2 if embedding.flips else 1)
            self._networks[path] = _Model(parameters=parameters, macs=macs * passes)
        return self._networks[path]

    def head(self, heads: HeadFile, name: str) -> _Model:
        """Return one head of a run."""
        from moclip.training.mac_counting import count_head  # noqa: PLC0415

        parameters, macs = count_head(heads.heads[name])
        return _Model(parameters=parameters, macs=macs)


class _Clock:
    """The time that a video takes in a stage, from the timings of all rows that were computed into the cache."""

    def __init__(self, *, cache_dir: Path, dataset: str) -> None:
        self._cache_dir, self._dataset = cache_dir, dataset

    def milliseconds(self, index: Path) -> tuple[float | None, float | None]:
        """Return the processor time and the wall time of a video of a feature set, in ms; None if none was timed."""
        shards = read_index(index).shards
        if not shards:
            return None, None
        with Shard(index.parent / shards[0].file) as shard:
            pool = pool_folder(
                self._cache_dir,
                extractor=shard.extractor,
                version=shard.extractor_version,
                parameters=shard.parameters,
            )
        total = Timing.sum(read_timings(pool, dataset=self._dataset))
        if not total.num_rows:
            return None, None
        return 1000 * total.processor_seconds / total.num_rows, 1000 * total.wall_seconds / total.num_rows


def _bytes_per_video(index: Path) -> int:
    shards = read_index(index).shards
    size = sum((index.parent / shard.file).stat().st_size for shard in shards)
    return round(size / max(1, sum(shard.num_videos for shard in shards)))
