"""The feature sets that the experiments of a configuration use, and the rows that their shards must hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moclip.cache.index import read_index
from moclip.cache.row_cache import pool_folder
from moclip.config.experiments import group_motion_shards, list_network_runs, list_runs, list_used
from moclip.config.settings import Settings
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Extractor, Video, group_videos, shard_file
from moclip.extraction.motion import build_motion_extractor
from moclip.extraction.motion_embedding import build_motion_embedding_extractor, list_motion


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """One folder of shards: its name below the results, and the extractor; None while its network is not trained.

    `motion` is the index of the motion features that the rows are computed from, or None where they are from videos.
    """

    name: str
    folder: Path
    extractor: Extractor | None
    motion: Path | None = None

    def pool(self, cache_dir: Path) -> Path | None:
        """Return the folder of the cache that holds its rows."""
        extractor = self.extractor
        if extractor is None:
            return None
        return pool_folder(
            cache_dir, extractor=extractor.name, version=extractor.version, parameters=extractor.parameters
        )


def results_folder(config: Mapping[str, Any]) -> Path:
    """Return the folder of results of a configuration."""
    return Path("results") / str(config["dataset"]["name"])


def list_feature_sets(config: Mapping[str, Any]) -> list[FeatureSet]:
    """Return every feature set that some experiment of a checked configuration uses.

    Raises:
        ModelError: The weights of an image encoder are not there.
    """
    results = results_folder(config)
    sets = [
        FeatureSet(
            name=f"motion/{variant}",
            folder=results / "motion" / variant,
            extractor=build_motion_extractor(config["motion"][variant]),
        )
        for variant in list_used(Settings(**config), "motion")
    ]
    sets += [
        FeatureSet(
            name=f"appearance/{variant}",
            folder=results / "appearance" / variant,
            extractor=build_appearance_extractor(config["appearance"][variant]),
        )
        for variant in list_used(Settings(**config), "appearance")
    ]
    return [*sets, *_list_embedding_sets(config, results=results)]


def _list_embedding_sets(config: Mapping[str, Any], *, results: Path) -> Iterator[FeatureSet]:
    for run in list_network_runs(Settings(**config)):
        variant = config["motion_network"][run.experiment]
        place = f"{run.experiment}/split-{run.split}/seed-{run.seed}"
        model = results / "motion_network" / place / "model.safetensors"
        yield FeatureSet(
            name=f"motion_embedding/{place}",
            folder=results / "motion_embedding" / place,
            extractor=build_motion_embedding_extractor(variant, model=model) if model.is_file() else None,
            motion=results / "motion" / variant["motion"] / "index.json",
        )


def list_outputs(config: Mapping[str, Any]) -> list[Path]:
    """Return the outputs of a checked configuration that are made from artifacts, relative to the working folder."""
    results = results_folder(config)
    networks = (
        results / "motion_network" / run.experiment / f"split-{run.split}/seed-{run.seed}/model.safetensors"
        for run in list_network_runs(Settings(**config))
    )
    texts = (
        results / "text" / variant / "class_embeddings.safetensors" for variant in list_used(Settings(**config), "text")
    )
    runs = (
        results / "experiments" / run.experiment / f"split-{run.split}/seed-{run.seed}" / name
        for run in list_runs(Settings(**config))
        for name in ("head.safetensors", "predictions.tsv")
    )
    return [*networks, *texts, *runs]


def list_shard_videos(
    feature_set: FeatureSet, *, manifest: Path, root: Path, num_shards: int
) -> dict[str, Sequence[Video]]:
    """Return the videos of every shard of a feature set, by the name of its file.

    Raises:
        DatasetError: The manifest is missing.
        ShardError: The motion that it is computed from is missing, damaged or stale.
    """
    if feature_set.motion is None:
        grouped = group_videos(manifest, root=root)
        return {shard_file(shard): grouped.get(shard, []) for shard in range(num_shards)}
    groups = group_motion_shards(len(read_index(feature_set.motion).shards))
    return {shard_file(number): list_motion(feature_set.motion, shards=shards) for number, shards in enumerate(groups)}
