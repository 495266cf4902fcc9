"""Files of heads, of one or of several seeds: settings, weights, learning curves, and the videos that shaped them."""

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from moclip.config.head_kinds import HEAD_KINDS
from moclip.core.digests import build_digest
from moclip.core.files import write_tsv
from moclip.core.tensors import (
    DIGEST_KEY,
    check_tensors,
    digest_tensors,
    expect_tensors,
    read_arrays,
    read_note,
    write_tensors,
)
from moclip.encoders.network_notes import Seen
from moclip.errors import ConfigError, ModelError
from moclip.training.head_inputs import POOLINGS, Layout, Normalise, Pooling

_FORMAT_VERSION = "2"

_SEED_DIGEST = "digest"

State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How a head is built and trained; the defaults are the paper's (its code, for the training).

    `options` has the settings that only this kind reads, complete with their defaults.
    """

    kind: str = "mlp"
    hidden: int = 512
    dropout: float = 0.5
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 100
    select: Literal["val", "last"] = "val"
    refit: bool = False
    normalise: Normalise = "none"
    pooling: Pooling = "mean"
    views: bool = False
    neighbours: tuple[int, ...] = (1, 5, 10, 20)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "HeadConfig":
        """Return the settings of one entry under `head`, with the defaults of absent keys.

        Raises:
            ConfigError: A key is unknown, or a choice is none of the known ones.
        """
        kind = section.get("kind", cls.kind)
        choices = {
            "kind": (tuple(HEAD_KINDS), kind),
            "select": (("val", "last"), section.get("select", cls.select)),
            "normalise": (("none", "l2", "layer"), section.get("normalise", cls.normalise)),
            "pooling": (POOLINGS, section.get("pooling", cls.pooling)),
        }
        for key, (words, found) in choices.items():
            if found not in words:
                raise ConfigError(f"head.{key}: expected one of {', '.join(words)}; found {found!r}")
        common = {field.name for field in fields(cls)} - {"options"}
        known = common | HEAD_KINDS[kind].options.keys()
        unknown = sorted(section.keys() - known)
        if unknown:
            raise ConfigError(f"head: unknown key `{unknown[0]}`; known keys: {', '.join(sorted(known))}")
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in section.items()
        }
        options = {key: given.get(key, default) for key, default in HEAD_KINDS[kind].options.items()}
        return cls(**{key: value for key, value in given.items() if key in common}, options=options)

    def describe(self) -> dict[str, Any]:
        """Return all settings by key, as `from_config` takes them."""
        common = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "options"}
        return common | dict(self.options)


def rate_key(config: HeadConfig) -> str:
    """Return the key of the rate at which heads of a configuration train."""
    return build_digest(asdict(config))[:16]


@dataclass(frozen=True, kw_only=True)
class HeadEpoch:
    """One epoch, counted from 1; `val_loss` and `val_top_1` are nan without validation videos."""

    epoch: int
    train_loss: float
    val_loss: float
    val_top_1: float


@dataclass(frozen=True, kw_only=True)
class TrainedHead:
    """The weights of the chosen epoch (0 without epochs), how they were trained, and what else validation chose.

    `selection_state` are the weights that no validation video shaped: those of `state`, unless it was fitted again.
    """

    state: State
    selection_state: State
    history: tuple[HeadEpoch, ...]
    best_epoch: int
    config: HeadConfig
    layout: Layout
    chosen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeadFile:
    """The heads of one run, the weights of its mixes, what shaped them, and what else was noted."""

    heads: Mapping[str, TrainedHead]
    mixes: Mapping[str, Mapping[str, float]]
    seen: Seen
    provenance: Mapping[str, Any]


def save_heads(
    path: Path,
    *,
    heads: Mapping[str, TrainedHead],
    seen: Seen,
    mixes: Mapping[str, Mapping[str, float]] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write heads to one safetensors file, tensors named `<head>.<layer>`; equal heads give equal bytes.

    `seen` lists the train and val videos, so that testing on one of them, or on one of their groups, can be refused.
    `provenance` is JSON. With `refit`, the weights from before it are stored too, for use on validation videos.
    """
    tensors, about = _pack(HeadFile(heads=heads, mixes=mixes or {}, seen=seen, provenance=provenance or {}))
    write_tensors(path, tensors, note={"format": _FORMAT_VERSION, **about, _SEED_DIGEST: build_digest(about)})


def save_seeds(path: Path, runs: Mapping[int, HeadFile]) -> None:
    """Write the heads of several seeds to one safetensors file, tensors named `seed-<seed>/<head>.<layer>`.

    The metadata has a digest of each seed: of its metadata, which holds digests of its tensors and videos. Seeds that
    have seen the same videos share their list, so that the header stays small.
    """
    tensors: dict[str, NDArray[Any]] = {}
    seeds, lists = {}, {}
    for seed, run in sorted(runs.items()):
        own, about = _pack(run)
        tensors |= {f"{_prefix(seed)}{name}": value for name, value in own.items()}
        lists[seen := build_digest(about["seen"])] = about["seen"]
        about |= {"seen": seen}
        seeds[str(seed)] = {**about, _SEED_DIGEST: build_digest(about)}
    write_tensors(path, tensors, note={"format": _FORMAT_VERSION, "seeds": seeds, "seen": lists})


def _prefix(seed: int) -> str:
    return f"seed-{seed}/"


def _pack(file: HeadFile) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for name, head in file.heads.items():
        tensors |= {f"{name}.{key}": value for key, value in head.state.items()}
        if head.config.refit:
            tensors |= {f"{name}/selection.{key}": value for key, value in head.selection_state.items()}
    seen = file.seen
    about = {
        "heads": {name: _describe(head) for name, head in file.heads.items()},
        "mixes": {name: dict(mix) for name, mix in file.mixes.items()},
        "seen": {"split": seen.split, "video_ids": sorted(seen.video_ids), "groups": sorted(seen.groups)},
        "provenance": dict(file.provenance),
        DIGEST_KEY: digest_tensors(tensors),
    }
    return tensors, about


def _describe(head: TrainedHead) -> dict[str, Any]:
    return {
        "best_epoch": head.best_epoch,
        "config": head.config.describe(),
        "layout": asdict(head.layout),
        "chosen": dict(head.chosen),
        "history": [list(asdict(row).values()) for row in head.history],
    }


def load_heads(path: Path, *, seed: int | None = None) -> HeadFile:
    """Return the heads written by `save_heads`, or those of one seed written by `save_seeds`.

    Raises:
        ModelError: The file is missing, damaged, no file of heads, or of another format, or lacks the seed.
    """
    with expect_tensors(path, "a file of trained heads"):
        found = _read_about(path)
        about = _check_note(found) if seed is None else _join_seed(found, seed=seed)
        tensors = read_arrays(path, prefix="" if seed is None else _prefix(seed))
        check_tensors(tensors, about=about)
        heads = {name: _load_head(name, tensors=tensors, about=entry) for name, entry in about["heads"].items()}
        seen = Seen(
            split=about["seen"]["split"],
            video_ids=tuple(about["seen"]["video_ids"]),
            groups=tuple(about["seen"]["groups"]),
        )
        return HeadFile(heads=heads, mixes=about["mixes"], seen=seen, provenance=about["provenance"])


def _check_note(found: Mapping[str, Any]) -> dict[str, Any]:
    # Files of earlier versions have no digest of their metadata.
    about = {key: value for key, value in found.items() if key not in ("format", _SEED_DIGEST)}
    if found.get(_SEED_DIGEST, "") not in ("", build_digest(about)):
        raise ValueError("its metadata are not those that were written")
    return about


def read_seed_digests(path: Path) -> dict[int, str]:
    """Return the digest of the heads of each seed in a file, by its header alone; other seeds do not change it.

    Raises:
        ModelError: The file is missing, damaged, or no file of the heads of several seeds.
    """
    with expect_tensors(path, "a file of trained heads"):
        return {int(seed): str(about[_SEED_DIGEST]) for seed, about in _read_about(path)["seeds"].items()}


def write_seed_digests(path: Path, digests: Mapping[int, str]) -> None:
    """Write a file without heads from which `read_seed_digests` reads these digests."""
    seeds = {str(seed): {_SEED_DIGEST: digest} for seed, digest in digests.items()}
    write_tensors(path, {}, note={"format": _FORMAT_VERSION, "seeds": seeds})


def _join_seed(found: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Return the metadata of one seed as `_pack` described it, after comparing them with their digests."""
    about = dict(found["seeds"][str(seed)])
    seen, digest = found["seen"][about["seen"]], about.pop(_SEED_DIGEST)
    if digest != build_digest(about) or about["seen"] != build_digest(seen):
        raise ValueError(f"the metadata of seed {seed} are not those that were written")
    return {**about, "seen": seen}


def _read_about(path: Path) -> dict[str, Any]:
    about = read_note(path)
    if about["format"] != _FORMAT_VERSION:
        raise ModelError(f"{path}: expected head format {_FORMAT_VERSION}, found {about['format']}; train it again")
    return about


def _load_head(name: str, *, tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> TrainedHead:
    state, selection = (_below(f"{prefix}.", tensors) for prefix in (name, f"{name}/selection"))
    if not state:
        raise ValueError(f"no weights of `{name}`")
    return TrainedHead(
        state=state,
        selection_state=selection or state,
        history=tuple(HeadEpoch(**dict(zip(_EPOCH_FIELDS, row, strict=True))) for row in about["history"]),
        best_epoch=about["best_epoch"],
        config=HeadConfig.from_config(about["config"]),
        layout=Layout(**about["layout"]),
        chosen=about["chosen"],
    )


_EPOCH_FIELDS = tuple(field.name for field in fields(HeadEpoch))


def _below(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def write_history(path: Path, runs: Mapping[int, HeadFile]) -> None:
    """Write one row for each seed, head and epoch; `chosen` is 1 at the epoch whose weights were kept."""
    rows = [
        (seed, name, *astuple(epoch), int(epoch.epoch == head.best_epoch))
        for seed, run in sorted(runs.items())
        for name, head in run.heads.items()
        for epoch in head.history
    ]
    write_tsv(path, header=["seed", "head", *_EPOCH_FIELDS, "chosen"], rows=rows, num_digits=6)
