"""The cost of each method: parameters, multiply-accumulates, milliseconds and bytes per video."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from moclip.cache.index import read_index
from moclip.config.methods import METHODS
from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant
from moclip.core.files import read_tsv, write_tsv
from moclip.errors import DatasetError
from moclip.training.head_files import HeadFile, load_heads

_ALL_COMPUTED = re.compile(r" rows computed, 0 taken from the cache")


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

    `macs` counts multiply-accumulates a video, half the floating-point operations. `*_ms` is wall time a video of one
    job of a stage, from the shards all of whose rows were computed in it; empty where none was. `cache_bytes` is what
    all features behind a method take, a video.
    """

    experiment: str
    method: str
    trained_parameters: int
    total_parameters: int
    macs: int
    motion_ms: float | None
    motion_embedding_ms: float | None
    appearance_ms: float | None
    cache_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Model:
    parameters: int
    macs: int


def write_costs(output: Path, *, runs: Sequence[CostRun], results: Path, logs: Path, benchmarks: Path) -> None:
    """Write the table of costs; benchmark files and logs mirror the folder of results."""
    clock = _Clock(results=results, logs=logs, benchmarks=benchmarks)
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
    times = {stage: clock.milliseconds(run.features[stage]) if stage in stages else None for stage in _STAGES}
    return Cost(
        experiment=run.experiment,
        method=method,
        trained_parameters=head.parameters,
        total_parameters=head.parameters + sum(model.parameters for model in used),
        macs=head.macs + sum(model.macs for model in used),
        motion_ms=times["motion"],
        motion_embedding_ms=times["motion_embedding"],
        appearance_ms=times["appearance"],
        cache_bytes=sum(_bytes_per_video(run.features[stage]) for stage in stages),
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
    """How long a stage took, from the benchmark files of its shards."""

    def __init__(self, *, results: Path, logs: Path, benchmarks: Path) -> None:
        self._results, self._logs, self._benchmarks = results, logs, benchmarks

    def milliseconds(self, index: Path) -> float | None:
        """Return the wall time of a video over the shards that were computed whole, in ms; None without one."""
        folder = index.parent.relative_to(self._results)
        seconds, num_videos = 0.0, 0
        for shard in read_index(index).shards:
            name = Path(shard.file).stem
            log, timing = self._logs / folder / f"{name}.log", self._benchmarks / folder / f"{name}.tsv"
            if timing.is_file() and log.is_file() and _ALL_COMPUTED.search(log.read_text(encoding="utf-8")):
                seconds += _read_seconds(timing)
                num_videos += shard.num_videos
        return 1000 * seconds / num_videos if num_videos else None


def _read_seconds(path: Path) -> float:
    try:
        return fmean(float(row["s"]) for row in read_tsv(path, columns=["s"]))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a benchmark file with a column `s` ({error}); delete it") from None


def _bytes_per_video(index: Path) -> int:
    shards = read_index(index).shards
    size = sum((index.parent / shard.file).stat().st_size for shard in shards)
    return round(size / max(1, sum(shard.num_videos for shard in shards)))
