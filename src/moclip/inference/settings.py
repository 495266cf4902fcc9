"""Settings of finished runs, parsed and checked against the features that were made with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moclip.cache.index import open_indexed, read_index
from moclip.config.settings import AppearanceVariant, Experiment, MotionVariant
from moclip.config.validation import AnySection, check_config, merge_configs, restore_section
from moclip.core.files import read_yaml
from moclip.core.records import check_recorded
from moclip.encoders.spec import locate_encoder, weights_fingerprint
from moclip.errors import ConfigError, ModelError, ShardError
from moclip.workflow.paths import find_results, project_of, result_path, run_of


@dataclass(frozen=True, kw_only=True)
class AppearanceSource:
    """The embeddings of an appearance variant, its settings, and the experiments that test its text tower.

    `zero_shot` names the experiments that test the encoder's text tower; there may be none.
    """

    name: str
    index: Path
    variant: AppearanceVariant
    zero_shot: tuple[str, ...]

    def on(self, device: str) -> AppearanceVariant:
        """Return the settings with another device, or unchanged if it is empty."""
        return with_device(self.variant, device)


def with_device(variant: AnySection, device: str) -> AnySection:
    """Return the settings of a variant with another device, or unchanged if `device` is empty."""
    return variant.model_copy(update={"device": device}) if device else variant


@dataclass(frozen=True, kw_only=True)
class VectorSource:
    """How the motion vectors of a run were read: its motion variant, and the version of libavcodec."""

    variant: MotionVariant
    libavcodec: str

    @property
    def lenient(self) -> MotionVariant:
        """The variant to read new videos with: a codec that exports no vectors is transcoded."""
        return MotionVariant(source="auto") if self.variant.source == "original" else self.variant

    def describe(self) -> dict[str, Any]:
        """Return the parameters that `parse_vector_source` takes, ready for JSON."""
        return {**self.variant.canonical(), "libavcodec": self.libavcodec}


def parse_vector_source(parameters: Mapping[str, Any], *, place: str) -> VectorSource:
    """Return the source of vectors that the parameters of motion features describe.

    Raises:
        ConfigError: They are parameters of other features.
    """
    settings = {key: value for key, value in parameters.items() if key != "libavcodec"}
    variant = restore_section(MotionVariant, settings, place=place)
    return VectorSource(variant=variant, libavcodec=str(parameters.get("libavcodec", "")))


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The `run.yaml` of a finished run: its experiment on one split with one seed, and all that was noted."""

    path: Path
    experiment: Experiment
    document: Mapping[str, Any]

    def variant(self, section: str, kind: type[AnySection]) -> AnySection | None:
        """Return the variant of a section that the run used, None if it used none.

        Raises:
            ConfigError: Its settings are damaged or of another version.
        """
        found = self.document["config"].get(section)
        return None if found is None else restore_section(kind, found, place=f"{self.path}: config.{section}")


def read_run(path: Path) -> RunRecord:
    """Return the `run.yaml` at a path.

    Raises:
        MoclipError: It is missing, edited, damaged or of another version.
    """
    document = read_yaml(check_recorded(path))
    try:
        own = {**document["config"]["experiment"], "splits": [document["split"]], "seeds": [document["seed"]]}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: expected the settings of a run ({error}); run the workflow again") from None
    experiment = restore_section(Experiment, own, place=f"{path}: config.experiment")
    return RunRecord(path=path, experiment=experiment, document=document)


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
    variant = locate_encoder(found, home=project_of(dataset))
    check_weights(index, variant=variant)
    zero_shot = sorted(
        run_of(run.path, "evaluate", "run").experiment
        for run in list_runs(dataset)
        if run.experiment.appearance == name and "zero_shot" in run.experiment.methods
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


def list_runs(dataset: Path) -> Iterator[RunRecord]:
    """Yield every finished run of a dataset, sorted by path."""
    for path, _ in find_results(dataset, "evaluate", "run"):
        yield read_run(path)


def _from_runs(dataset: Path, *, name: str) -> AppearanceVariant:
    # Experiments of one dataset share a variant, and with it its settings; weights are checked against the shards.
    for run in list_runs(dataset):
        variant = run.variant("appearance", AppearanceVariant) if run.experiment.appearance == name else None
        if variant is not None:
            return variant
    raise ConfigError(
        f"{dataset}: expected a run.yaml of an experiment with the appearance variant {name}, found none; "
        "give the configuration with --configfile"
    )


def _from_config(name: str, *, files: Sequence[Path]) -> AppearanceVariant:
    variants = check_config(merge_configs(map(read_yaml, files))).appearance
    if name not in variants:
        raise ConfigError(f"{files[-1]}: appearance: expected the variant {name}, found {sorted(variants)}")
    return variants[name]


def check_weights(index: Path, *, variant: AppearanceVariant) -> None:
    """Check that the encoder of a variant has the weights that made the features behind an index.

    Raises:
        ModelError: It has others, or they are missing.
        MoclipError: The index or a shard is missing, edited or damaged.
    """
    expected = read_parameters(index)["weights"]
    found = weights_fingerprint(variant)
    if found != expected:
        raise ModelError(
            f"{index.parent}: expected an encoder with the weights {expected}, which made these; found {found} "
            f"({variant.model}); give the configuration that made them with --configfile, or run the workflow again"
        )


def read_parameters(index: Path) -> dict[str, Any]:
    """Return the parameters of the extractor that made the shards behind an index.

    Raises:
        MoclipError: The index or its first shard is missing, edited, damaged or stale.
    """
    features = read_index(check_recorded(index))
    if not features.shards:
        raise ShardError(f"{index}: expected shards, found none; run again, which makes it again", damaged=index)
    with open_indexed(features, features.shards[0]) as shard:
        return shard.parameters
