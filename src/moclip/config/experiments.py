"""Experiments: the matrix of an experiment, its runs, and the variants that they use."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moclip.config.methods import METHODS
from moclip.config.settings import Experiment, Settings
from moclip.errors import ConfigError

# Which sections a key of an experiment, or of a variant, may name an entry of.
REFERENCES: dict[str, dict[str, str]] = {
    "appearance": {"motion": "motion"},
    "text": {"appearance": "appearance"},
    "motion_network": {"motion": "motion"},
    "experiments": {"appearance": "appearance", "motion_network": "motion_network", "text": "text", "head": "head"},
}
_HEAD_KEY = "head."

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def expand_matrices(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with every `matrix` expanded to experiments.

    The experiment `sweep` with `matrix: {head: [mlp, linear], shots: [1, 2]}` becomes `sweep-mlp-shots-1` and so on:
    the values in the order of the keys, a number or a truth value behind the last part of its key. A key
    `head.dropout` is one of the experiment's head: it adds the head variants `mlp-dropout-0.1` and so on.

    Raises:
        ConfigError: Two experiments, or two head variants, come out under one name, or a key cannot be varied.
    """
    expanded: dict[str, Any] = copy.deepcopy(dict(config))
    experiments: dict[str, Any] = {}
    for name, entry in expanded["experiments"].items():
        for new_name, new_entry in _expand(name, entry, heads=expanded["head"]):
            if new_name in experiments or (new_name != name and new_name in expanded["experiments"]):
                raise ConfigError(f"experiments.{name}.matrix: two experiments come out as `{new_name}`; rename one")
            experiments[new_name] = new_entry
    expanded["experiments"] = experiments
    return expanded


def _expand(name: str, entry: Mapping[str, Any], *, heads: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    base = {key: value for key, value in entry.items() if key != "matrix"}
    matrix: Mapping[str, list[Any]] = entry.get("matrix", {})
    for values in itertools.product(*matrix.values()):
        chosen = dict(zip(matrix, values, strict=True))
        label = "-".join([name, *(_part(key, value) for key, value in chosen.items())])
        if not _NAME.fullmatch(label):
            raise ConfigError(f"experiments.{name}.matrix: {label!a} cannot be a folder's name; use plain values")
        new = {**base, **{key: copy.deepcopy(value) for key, value in chosen.items() if not _is_head_key(key)}}
        varied = {key.removeprefix(_HEAD_KEY): value for key, value in chosen.items() if _is_head_key(key)}
        if varied:
            new["head"] = _vary_head(new.get("head"), varied, heads=heads, place=f"experiments.{name}.matrix")
        yield label, new


def _is_head_key(key: str) -> bool:
    return key.startswith(_HEAD_KEY)


def _part(key: str, value: Any) -> str:
    short = key.removeprefix(_HEAD_KEY)
    if isinstance(value, list):
        return f"{short}-{'-'.join(map(str, value))}"
    if isinstance(value, bool):
        return f"{short}-{'yes' if value else 'no'}"
    return value if isinstance(value, str) else f"{short}-{value}"


def _vary_head(variant: str | None, varied: Mapping[str, Any], *, heads: dict[str, Any], place: str) -> str:
    if variant not in heads:
        raise ConfigError(f"{place}: expected a variant of `head` to vary, found `{variant}`")
    name = "-".join([str(variant), *(_part(key, value) for key, value in varied.items())])
    settings = {**heads[variant], **varied}
    if heads.setdefault(name, settings) != settings:
        raise ConfigError(f"{place}: two head variants come out as `{name}`; rename one")
    return name


@dataclass(frozen=True, kw_only=True, order=True)
class Run:
    """One experiment on one official split with one seed."""

    experiment: str
    split: int
    seed: int

    @property
    def name(self) -> str:
        """Its name in messages and tables, such as `fusion/split-1/seed-0`."""
        return f"{self.experiment}/split-{self.split}/seed-{self.seed}"


def list_runs(settings: Settings) -> tuple[Run, ...]:
    """Return all runs, in the order of the experiments in the configuration."""
    return tuple(
        Run(experiment=name, split=split, seed=seed)
        for name, experiment in settings.experiments.items()
        for split in sorted(experiment.splits)
        for seed in sorted(experiment.seeds)
    )


def list_network_runs(settings: Settings) -> tuple[Run, ...]:
    """Return the motion networks that some experiment uses, as runs that are named after the variant."""
    uses = {
        Run(experiment=experiment.motion_network, split=split, seed=seed)
        for experiment in settings.experiments.values()
        if _uses(experiment, "motion_network")
        for split in experiment.splits
        for seed in experiment.seeds
    }
    return tuple(sorted(uses))


def list_used(settings: Settings, section: str) -> tuple[str, ...]:
    """Return the variants of a section that some experiment uses, directly or through a variant of another stage."""
    used = {getattr(entry, section) for entry in settings.experiments.values() if _uses(entry, section)}
    for stage, keys in REFERENCES.items():
        if section in keys and stage != "experiments":
            variants = getattr(settings, stage)
            used |= {named for name in list_used(settings, stage) if (named := getattr(variants[name], section))}
    return tuple(sorted(used))


def _uses(experiment: Experiment, section: str) -> bool:
    return bool(getattr(experiment, section, "")) and any(section in METHODS[name].needs for name in experiment.methods)


# A job that embeds motion covers several motion shards, since starting it takes longer than embedding a few videos; but
# never so many that fewer than this many jobs could run at the same time.
_MOTION_SHARDS_PER_JOB, _FEWEST_JOBS = 8, 8


def group_motion_shards(num_shards: int) -> list[tuple[int, ...]]:
    """Return the motion shards behind each shard of motion embeddings.

    >>> group_motion_shards(3)
    [(0,), (1,), (2,)]
    >>> len(group_motion_shards(130))
    17
    """
    count = min(num_shards, max(_FEWEST_JOBS, -(-num_shards // _MOTION_SHARDS_PER_JOB)))
    return [tuple(range(first, num_shards, count)) for first in range(count)]
