"""Runs whose heads one job trains, and other runs that read the same features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moclip.config.methods import METHODS, list_heads


@dataclass(frozen=True, kw_only=True)
class HeadRun:
    """One run whose heads are to be trained.

    `variant` is its entry under `head`. `motion` and `appearance` are the indexes of its streams, `network` its motion
    network, `text` its class embeddings; None where it reads none.
    """

    methods: tuple[str, ...]
    variant: Mapping[str, Any]
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

    def feeds(self, method: str) -> bool:
        """Return whether its files are all that the head of a method reads."""
        entry = METHODS[method]
        return set(entry.streams) <= self.indexes.keys() and ("text" not in entry.needs or self.text is not None)


def list_head_runs(described: Mapping[str, Any]) -> list[HeadRun]:
    """Return the runs of an experiment, a run for each seed, that an engine describes with texts and numbers alone."""
    common = {"methods": tuple(described["methods"]), "variant": described["head"], "shots": described["shots"]}
    runs = []
    for seed, named in described["seeds"].items():
        files: dict[str, Any] = {name: Path(file) for name, file in named.items()}
        runs.append(HeadRun(**common, **files, seed=int(seed)))
    return runs


def list_neighbors(config: Mapping[str, Any], *, experiment: str, split: int, runs: Sequence[HeadRun]) -> list[HeadRun]:
    """Return the runs of other experiments on a split that read the same variants as some runs of one experiment."""
    experiments = config["experiments"]
    variants = ("appearance", "motion_network", "text")
    others = [
        entry
        for name, entry in experiments.items()
        if name != experiment
        and split in entry["splits"]
        and list_heads(entry["methods"])
        and all(entry.get(key) == experiments[experiment].get(key) for key in variants)
    ]
    return [
        replace(run, methods=tuple(entry["methods"]), variant=config["head"][entry["head"]], shots=entry["shots"])
        for entry in others
        for run in runs
        if run.seed in entry["seeds"]
    ]
