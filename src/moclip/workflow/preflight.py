"""Checks before the first job: everything that a configuration names exists, from splits and classes to weights."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from moclip.config.experiments import list_used
from moclip.config.settings import Settings
from moclip.core.digests import build_digest
from moclip.core.files import write_json
from moclip.dataset.layouts import read_listing
from moclip.encoders.catalog import TIMM, check_backbone, check_encoder_names
from moclip.encoders.spec import check_encoder, check_weights_file, local_weights
from moclip.errors import ConfigError, MoclipError
from moclip.extraction.text import read_prompts

# The initial weights of a motion network that is trained from random numbers.
_NO_WEIGHTS = "none"


def check_sources(settings: Settings, *, listing: str | None) -> None:
    """Check the splits, classes, prompts, models and weights that the experiments of a configuration use.

    Nothing is decoded, and no model is loaded. `listing` is the digest of the dataset's videos and lists, None while
    they are yet to be rendered; classes and splits are not checked then.

    Raises:
        ConfigError: Something is missing or has another name. All errors are reported, a line each.
    """
    lines = [*_check_models(settings), *_check_networks(settings)]
    try:
        class_names, splits = _read_outline(settings, listing=listing) if listing else ((), ())
    except MoclipError as error:
        lines.append(str(error))
    else:
        lines += [*_check_splits(settings, splits=splits), *_check_prompts(settings, class_names=class_names)]
    if lines:
        raise ConfigError("\n".join(lines))


def _read_outline(settings: Settings, *, listing: str) -> tuple[Sequence[str], Sequence[int]]:
    # Reading the lists of 13,320 videos takes half a second, so their classes and splits are remembered.
    memo = Path(settings.cache_dir, "fingerprints", f"{settings.dataset.name}.listing.json")
    key = build_digest(settings.dataset.canonical(), listing)
    with suppress(OSError, ValueError, LookupError, TypeError):  # no memo of this listing
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known["key"] == key:
            return known["class_names"], known["splits"]
    found = read_listing(settings.dataset)
    with suppress(OSError):  # a cache that cannot be written: the lists are read again next time
        write_json(memo, {"key": key, "class_names": found.class_names, "splits": found.splits})
    return found.class_names, found.splits


def _check_splits(settings: Settings, *, splits: Sequence[int]) -> Iterator[str]:
    for name, experiment in settings.experiments.items():
        lost = sorted(set(experiment.splits) - set(splits)) if splits else []
        if lost:
            known = ", ".join(map(str, splits))
            yield (
                f"config: experiments.{name}.splits: expected splits of the dataset ({known}), found {lost[0]}; "
                "correct the list, or add the split to the lists"
            )


def _check_prompts(settings: Settings, *, class_names: Sequence[str]) -> Iterator[str]:
    for name in list_used(settings, "text"):
        with _note(f"text.{name}") as lines:
            read_prompts(settings.text[name], class_names=class_names)
        yield from lines


def _check_models(settings: Settings) -> Iterator[str]:
    for name in list_used(settings, "appearance"):
        variant = settings.appearance[name]
        with _note(f"appearance.{name}") as lines:
            check_encoder(variant)
            check_encoder_names(variant)
            if (path := local_weights(variant)) is not None:
                check_weights_file(path)
        yield from lines


def _check_networks(settings: Settings) -> Iterator[str]:
    for name in list_used(settings, "motion_network"):
        variant = settings.motion_network[name]
        with _note(f"motion_network.{name}") as lines:
            check_backbone(variant.backbone, weights=variant.weights)
            if variant.weights != _NO_WEIGHTS and not variant.weights.startswith(TIMM):
                check_weights_file(Path(variant.weights))
        yield from lines


@contextmanager
def _note(place: str) -> Iterator[list[str]]:
    # Yields a list that receives the error of the block.
    lines: list[str] = []
    try:
        yield lines
    except MoclipError as error:
        lines.append(f"config: {place}: {error}")
