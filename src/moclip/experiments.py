"""Experiments said in bulk: a `matrix` of keys becomes one named experiment for each combination. Pure."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from moclip.errors import ConfigError

_HEAD_KEY = "head."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def expand_matrices(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with every `matrix` multiplied out; one without comes back as it is.

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
