"""Runs whose heads one job trains, and other runs that read the same features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.config.methods import METHODS, list_heads
from moclip.training.head_files import HeadConfig

if TYPE_CHECKING:
    from moclip.config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class HeadRun:
    """One run whose heads are to be trained.

    `config` has the settings of its heads. `motion` and `appearance` are the indexes of its streams, `network` is its
    motion network, `text` its class embeddings; None where it reads none.
    """

    methods: tuple[str, ...]
    config: HeadConfig
    shots: int
    seed: int
    motion: Path | None = None
    appearance: Path | None = None
    network: Path | None = None
    text: Path | None = None

    @property
    def indexes(self) -> dict[str, Path]:
        """The indexes of its streams, by their names."""
        given = {"motion": self.motion, "appearance": self.appearance}
        return {name: index for name, index in given.items() if index is not None}

    def config_of(self, method: str) -> HeadConfig:
        """Return the settings of the head of a method: those of the run's head, unless the method fixes the kind.

        Such a head reads the same inputs and is fitted on the same subsets.
        """
        kind = METHODS[method].head_kind
        if not kind:
            return self.config
        shared = {key: getattr(self.config, key) for key in ("normalise", "pooling", "select", "refit")}
        return HeadConfig.from_config({"kind": kind, **shared})

    def feeds(self, method: str) -> bool:
        """Return whether its files are all that the head of a method reads."""
        entry = METHODS[method]
        return set(entry.streams) <= self.indexes.keys() and ("text" not in entry.needs or self.text is not None)


def list_head_runs(described: Mapping[str, Any]) -> list[HeadRun]:
    """Return the runs of an experiment, a run for each seed, that an engine describes with texts and numbers alone."""
    methods, config, shots = tuple(described["methods"]), HeadConfig.from_config(described["head"]), described["shots"]
    return [
        HeadRun(
            methods=methods, config=config, shots=shots, seed=int(seed), **{name: Path(named[name]) for name in named}
        )
        for seed, named in described["seeds"].items()
    ]


def list_neighbors(settings: "Settings", *, experiment: str, split: int, runs: Sequence[HeadRun]) -> list[HeadRun]:
    """Return the runs of other experiments on a split that read the same variants as some runs of one experiment."""
    own = settings.experiments[experiment]
    others = [
        entry
        for name, entry in settings.experiments.items()
        if name != experiment
        and split in entry.splits
        and list_heads(entry.methods)
        and (entry.appearance, entry.motion_network, entry.text) == (own.appearance, own.motion_network, own.text)
    ]
    return [
        replace(
            run,
            methods=entry.methods,
            config=HeadConfig.from_config(settings.head[entry.head].canonical()),
            shots=entry.shots,
        )
        for entry in others
        for run in runs
        if run.seed in entry.seeds
    ]
