"""The feature sets that the experiments of a configuration use, and the rows that their shards must hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moclip.cache.index import read_index
from moclip.cache.pool import pool_folder
from moclip.config.experiments import group_motion_shards
from moclip.config.settings import Settings
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Extractor, Video, group_videos, shard_file
from moclip.extraction.motion import build_motion_extractor
from moclip.extraction.motion_embedding import build_motion_embedding_extractor, list_motion
from moclip.workflow.jobs import Job
from moclip.workflow.paths import Paths
from moclip.workflow.plan import Plan

# The rules whose outputs are made from artifacts of the cache, and the output that notes which.
_NOTED = {"motion_network": "model", "text": "classes", "head": "heads", "evaluate": "predictions"}


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
        return None if self.extractor is None else pool_of(self.extractor, cache_dir=cache_dir)


def pool_of(extractor: Extractor, *, cache_dir: Path) -> Path:
    """Return the folder of the cache that holds the rows of an extractor."""
    return pool_folder(cache_dir, extractor=extractor.name, version=extractor.version, parameters=extractor.parameters)


def list_feature_sets(settings: Settings) -> list[FeatureSet]:
    """Return every feature set that some experiment uses, those of motion first.

    Raises:
        ModelError: The weights of an image encoder are not there.
    """
    plan = Plan(settings)
    rules = ("motion_index", "appearance_index", "motion_embedding_index")
    return [_feature_set(job, plan=plan) for rule in rules for job in plan.jobs if job.rule == rule]


def _feature_set(job: Job, *, plan: Plan) -> FeatureSet:
    folder, variant = Path(job.outputs["index"]).parent, job.wildcards["variant"]
    extractor: Extractor | None
    motion = None
    if job.rule == "motion_index":
        extractor = build_motion_extractor(plan.settings.motion[variant])
    elif job.rule == "appearance_index":
        extractor = build_appearance_extractor(plan.settings.appearance[variant])
    else:
        motion, model = (Path(job.input_files(name)[0]) for name in ("motion", "model"))
        entry = plan.settings.motion_network[variant]
        extractor = build_motion_embedding_extractor(entry, model=model) if model.is_file() else None
    name = folder.relative_to(plan.paths.results).as_posix()
    return FeatureSet(name=name, folder=folder, extractor=extractor, motion=motion)


def list_outputs(settings: Settings) -> list[Path]:
    """Return the outputs that are made from artifacts, relative to the working folder."""
    return [Path(job.outputs[_NOTED[job.rule]]) for job in Plan(settings).jobs if job.rule in _NOTED]


def list_shard_videos(feature_set: FeatureSet, *, settings: Settings) -> dict[str, Sequence[Video]]:
    """Return the videos of every shard of a feature set, by the name of its file.

    Raises:
        DatasetError: The manifest is missing.
        ShardError: The motion that it is computed from is missing, damaged or stale.
    """
    if feature_set.motion is None:
        manifest = Path(Paths(dataset=settings.dataset.name).outputs("manifest")["manifest"])
        grouped = group_videos(manifest, root=Path(settings.dataset.root))
        return {shard_file(shard): grouped.get(shard, []) for shard in range(settings.dataset.num_shards)}
    groups = group_motion_shards(len(read_index(feature_set.motion).shards))
    return {shard_file(number): list_motion(feature_set.motion, shards=shards) for number, shards in enumerate(groups)}
