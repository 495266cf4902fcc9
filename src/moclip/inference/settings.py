"""Settings of the appearance variant of a run, and its encoder weights, checked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moclip.cache.index import open_indexed, read_index
from moclip.config.validation import check_config, merge_configs
from moclip.encoders.spec import LOCAL_DIR, build_encoder_spec, weights_fingerprint
from moclip.errors import ConfigError, ModelError, ShardError
from moclip.workflow.paths import find_results, project_of, result_path, run_of

Section = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AppearanceSource:
    """The embeddings of an appearance variant, its settings, and the experiments that test its text tower.

    `zero_shot` names the experiments that test the encoder's text tower; there may be none.
    """

    name: str
    index: Path
    variant: Section
    zero_shot: tuple[str, ...]

    def on(self, device: str) -> dict[str, Any]:
        """Return the settings with another device, or as they are where it is empty."""
        return with_device(self.variant, device)


def with_device(variant: Section, device: str) -> dict[str, Any]:
    """Return the settings of a variant with another device, or with their own one where `device` is empty."""
    return {**variant, **({"device": device} if device else {})}


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file that holds a mapping.

    Raises:
        ConfigError: It is missing, or something else.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a YAML file ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(document).__name__}")
    return document


def find_appearance(dataset: Path, *, name: str = "", configfiles: Sequence[Path] = ()) -> AppearanceSource:
    """Return the appearance variant of a folder of results, its settings checked against what made its shards.

    The settings come from `configfiles`, merged, or from the `run.yaml` of an experiment that uses the variant.

    Raises:
        ConfigError: There is no such variant, several to choose from, or nothing that gives its settings.
        ModelError: The weights at hand are not those that made the shards.
    """
    name = name or _only_variant(dataset)
    index = result_path(dataset, "appearance_index", "index", variant=name)
    if not index.is_file():
        raise ConfigError(
            f"{index}: no such features; expected one of {_list_variants(dataset)}; run the workflow first"
        )
    found = _from_config(name, files=configfiles) if configfiles else _from_runs(dataset, name=name)
    variant = locate_weights(found, project=project_of(dataset))
    check_weights(index, variant=variant)
    zero_shot = sorted(
        run_of(path, "evaluate", "run").experiment
        for path, run in list_runs(dataset)
        if _uses(run, name) and _tests_text(run)
    )
    return AppearanceSource(name=name, index=index, variant=variant, zero_shot=tuple(dict.fromkeys(zero_shot)))


def _only_variant(dataset: Path) -> str:
    names = _list_variants(dataset)
    if len(names) != 1:
        raise ConfigError(
            f"{dataset}: expected one appearance variant, found {', '.join(names) or 'none'}; "
            + (
                "name one with --variant"
                if names
                else "is this a folder such as results/demo, and did the workflow run?"
            )
        )
    return names[0]


def _list_variants(dataset: Path) -> list[str]:
    return [found["variant"] for _, found in find_results(dataset, "appearance_index", "index")]


def list_runs(dataset: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the path and the content of every `run.yaml` of a dataset, sorted by path."""
    for path, _ in find_results(dataset, "evaluate", "run"):
        yield path, read_yaml(path)


def _uses(run: Section, name: str) -> bool:
    return bool(run["config"]["experiment"].get("appearance") == name)


def _tests_text(run: Section) -> bool:
    return "zero_shot" in run["config"]["experiment"]["methods"]


def _from_runs(dataset: Path, *, name: str) -> Section:
    # Experiments of one dataset share a variant, and with it its settings; weights are checked against the shards.
    for _, run in list_runs(dataset):
        if _uses(run, name) and "appearance" in run["config"]:
            found: Section = run["config"]["appearance"]
            return found
    raise ConfigError(
        f"{dataset}: expected a run.yaml of an experiment with the appearance variant {name}, found none; "
        "give the configuration with --configfile"
    )


def _from_config(name: str, *, files: Sequence[Path]) -> Section:
    variants = check_config(merge_configs(map(read_yaml, files))).appearance
    if name not in variants:
        raise ConfigError(f"{files[-1]}: appearance: expected the variant {name}, found {sorted(variants)}")
    return variants[name].canonical()


def locate_weights(variant: Section, *, project: Path) -> dict[str, Any]:
    """Return an appearance variant whose relative paths are found from another working directory too."""
    located = dict(variant)
    model = str(variant["model"])
    if model.startswith(LOCAL_DIR):
        folder = Path(model.removeprefix(LOCAL_DIR))
        if not folder.is_dir() and (project / folder).is_dir():
            located["model"] = f"{LOCAL_DIR}{project / folder}"
    if variant["weights"] and not Path(variant["weights"]).is_file() and (project / variant["weights"]).is_file():
        located["weights"] = str(project / variant["weights"])
    return located


def check_weights(index: Path, *, variant: Section) -> None:
    """Check that the encoder of a variant has the weights that made the features behind an index.

    Raises:
        ModelError: It has others, or they are missing.
        ShardError: The index or a shard is missing or damaged.
    """
    expected = read_parameters(index)["weights"]
    found = weights_fingerprint(build_encoder_spec(variant))
    if found != expected:
        raise ModelError(
            f"{index.parent}: expected an encoder with the weights {expected}, which made these; found {found} "
            f"({variant['model']}); give the configuration that made them with --configfile, or run the workflow again"
        )


def read_parameters(index: Path) -> dict[str, Any]:
    """Return the parameters of the extractor that made the shards behind an index.

    Raises:
        ShardError: The index or its first shard is missing, damaged or stale.
    """
    features = read_index(index)
    if not features.shards:
        raise ShardError(f"{index}: expected shards, found none; delete it and run again")
    with open_indexed(features, features.shards[0]) as shard:
        return shard.parameters
