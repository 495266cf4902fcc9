"""Forecast the next run without running it: the jobs that start, and the rows, networks and heads that they compute.

Jobs are taken in the order of the graph. A gate that starts gets its expected result, assembled from the cache, so that
the params of the jobs below it are those that the engine will see. A result that must be computed first is not known.
A stand-in that differs from every result gives the most work, and the present result in its place the least.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from moclip.cache.index import ShardRows, store_index
from moclip.cache.pool import list_rows
from moclip.cache.reader import Shard
from moclip.config.methods import list_heads
from moclip.core.digests import FileDigests
from moclip.core.files import replace_atomically
from moclip.core.records import read_record
from moclip.dataset.fingerprints import memo_file
from moclip.dataset.labels import LEARNED, list_subsets
from moclip.dataset.manifest import build_manifest, write_manifest
from moclip.errors import MoclipError, ShardError
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Extractor, Video, group_videos, shard_file
from moclip.extraction.frame_choice import MotionRows
from moclip.extraction.motion import build_motion_extractor
from moclip.extraction.motion_embedding import build_motion_embedding_extractor, list_motion
from moclip.extraction.text import find_class_embeddings
from moclip.training import head_files, motion_stage
from moclip.training.head_runs import list_head_runs
from moclip.training.head_stage import list_missing_heads
from moclip.workflow.check import check_results
from moclip.workflow.explain import read_note
from moclip.workflow.feature_sets import pool_folders, pool_of
from moclip.workflow.jobs import Job
from moclip.workflow.plan import Plan


@dataclass(frozen=True, kw_only=True)
class ExpectedJob:
    """A job of the next run.

    `num_made` counts the rows, networks, heads or class embeddings that it computes, and `num_units` the units of its
    rate, which the cache notes under `rate_key`. A job that is not certain starts only if a result that must be
    computed first differs from the present one.
    """

    job: Job
    is_certain: bool = True
    num_made: int = 0
    num_units: float = 0
    rate_key: str = ""
    pool: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The jobs of the next run in the order of the graph, and the fingerprints of all videos that it lists."""

    jobs: tuple[ExpectedJob, ...]
    fingerprints: tuple[str, ...]


# Opens the plan with a folder of expected results, or with the present results for None.
OpenPlan = Callable[[Path | None], Plan]


def forecast_jobs(open_plan: OpenPlan) -> Forecast:
    """Return the jobs of the next run. New and changed videos are read once.

    Raises:
        MoclipError: The run would fail: lists, prompts or weights are missing or wrong.
    """
    present = open_plan(None)
    findings = check_results(present, noted_params=_read_params)
    removed = {finding.job.files for finding in findings}
    pools = _Pools(Path(present.settings.cache_dir))
    found, fingerprints = [], list[str]()
    for keeps in (False, True):
        with TemporaryDirectory(prefix="moclip-plan-") as folder:
            plan = open_plan(Path(folder))
            found.append(_Pass(plan, present=present, folder=Path(folder), pools=pools, keeps=keeps).run(removed))
            fingerprints = plan.signatures.fingerprints()
    most, least = found
    certain = {entry.job.files for entry in least}
    jobs = tuple(replace(entry, is_certain=entry.job.files in certain) for entry in most)
    return Forecast(jobs=jobs, fingerprints=tuple(fingerprints))


def _read_params(file: str) -> list[str] | None:
    note = read_note(Path(), target=file)
    return note["params"] if note else None


class _Pools:
    """The digests of all cached rows, by pool and key."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._rows: dict[Path, dict[str, str]] = {}

    def rows(self, pool: Path) -> dict[str, str]:
        if pool not in self._rows:
            folders = pool_folders(pool, cache_dir=self._cache_dir)
            self._rows[pool] = {key: digest for folder in folders for key, digest in list_rows(folder).items()}
        return self._rows[pool]


@dataclass(frozen=True, kw_only=True)
class _FeatureSet:
    """The wanted rows of a feature set by shard; the extractor is None while its network is not trained."""

    extractor: Extractor | None
    pool: Path | None
    videos: Mapping[int, list[Video]]


class _Pass:
    """One pass over the jobs of a plan; with `keeps`, unknown results are expected to be the present ones."""

    def __init__(self, plan: Plan, *, present: Plan, folder: Path, pools: _Pools, keeps: bool) -> None:
        self._plan, self._present, self._folder, self._pools, self._keeps = plan, present, folder, pools, keeps
        self._settings, self._cache_dir = plan.settings, Path(plan.settings.cache_dir)
        self._locate = plan.signatures.locate
        self._manifest = plan.paths.outputs("manifest")["manifest"]
        self._videos = plan.paths.outputs("videos")["videos"] if plan.splits_follow else self._manifest
        self._runs: dict[Job, ExpectedJob] = {}
        self._sets: dict[tuple[str, ...], _FeatureSet] = {}
        self._motion: dict[str, dict[int, list[Video]]] = {}
        self._made: set[tuple[str, str]] = set()

    def run(self, removed: set[tuple[str, ...]]) -> list[ExpectedJob]:
        """Return the jobs that start, given the outputs that the check before a run removes."""
        is_blind = False
        for job in self._plan.jobs:
            if is_blind or job.files in removed or self._starts(job):
                # Videos that are rendered first are not known, and neither is anything below them.
                is_blind = is_blind or job.rule == "demo_dataset"
                self._runs[job] = ExpectedJob(job=job)
                expect = _EXPECT.get(job.rule)
                if expect is not None and not is_blind:
                    self._runs[job] = expect(self, job)
        return list(self._runs.values())

    def _starts(self, job: Job) -> bool:
        # As the engine decides: missing outputs, jobs above that run, or other params or inputs than it noted.
        if not all(Path(file).exists() for file in job.files):
            return True
        followed = (source for name in job.inputs if job.follows(name) for source in job.sources(name))
        if any(source.job in self._runs for source in followed):
            return True
        notes = [read_note(Path(), target=file) for file in job.files]
        if any(note is None for note in notes):
            return False
        params = set(map(repr, job.params().values()))
        inputs = {file for name in job.inputs for file in job.input_files(name)} | set(job.gate_files(named=()))
        return any(set(note["params"]) != params or set(note["input"]) != inputs for note in notes if note)

    def _expected_file(self, file: str) -> Path:
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write_stand_in(self, job: Job) -> None:
        for file in job.files:
            if not (self._keeps and Path(file).is_file()):
                text = f"unknown {file}".encode()
                self._expected_file(file).write_bytes(len(text).to_bytes(8, "little") + text)

    def _count_new(self, kind: str, keys: set[str]) -> int:
        # Content that several jobs need is computed by one of them.
        new = {(kind, key) for key in keys} - self._made
        self._made |= new
        return len(new)

    def expect_listing(self, job: Job) -> ExpectedJob:
        dataset, near_duplicates = self._settings.dataset, None
        if job.rule == "manifest" and self._plan.splits_follow:
            present = Path(self._plan.paths.outputs("near_duplicates")["near_duplicates"])
            near_duplicates = present if present.is_file() else None
        memo = memo_file(self._cache_dir, dataset=dataset.name)
        frame = build_manifest(dataset, memo=memo, near_duplicates=near_duplicates)
        write_manifest(frame, self._expected_file(job.files[0]))
        return ExpectedJob(job=job)

    def expect_near_duplicates(self, job: Job) -> ExpectedJob:
        self._write_stand_in(job)
        return ExpectedJob(job=job)

    def _feature_set(self, job: Job) -> _FeatureSet:
        wildcards = {name: value for name, value in job.wildcards.items() if name != "shard"}
        stage = job.rule.rpartition("_")[0]
        key = (stage, *wildcards.values())
        if key not in self._sets:
            index = self._plan.job(f"{stage}_index", **wildcards)
            build = {"motion": self._motion_set, "appearance": self._appearance_set}.get(stage, self._embedding_set)
            extractor, videos = build(index)
            pool = None if extractor is None else pool_of(extractor, cache_dir=self._cache_dir)
            self._sets[key] = _FeatureSet(extractor=extractor, pool=pool, videos=videos)
        return self._sets[key]

    def _listed(self) -> dict[int, list[Video]]:
        grouped = group_videos(self._locate(self._videos), root=Path(self._settings.dataset.root))
        return {shard: grouped.get(shard, []) for shard in self._plan.shards}

    def _motion_set(self, index: Job) -> tuple[Extractor, dict[int, list[Video]]]:
        return build_motion_extractor(self._settings.motion[index.wildcards["variant"]]), self._listed()

    def _appearance_set(self, index: Job) -> tuple[Extractor, dict[int, list[Video]]]:
        followed = index.input_files("motion")
        motion = None
        if followed:
            videos = [video for listed in self._motion_rows(followed[0]).values() for video in listed]
            digests = {video.video_id: video.fingerprint for video in videos}
            motion = MotionRows(shards={video.video_id: video.path for video in videos}, digests=digests)
        variant = self._settings.appearance[index.wildcards["variant"]]
        return build_appearance_extractor(variant, motion=motion, digest=FileDigests(self._cache_dir)), self._listed()

    def _embedding_set(self, index: Job) -> tuple[Extractor | None, dict[int, list[Video]]]:
        motion, model = index.input_files("motion")[0], self._locate(index.input_files("model")[0])
        rows = self._motion_rows(motion)
        videos = {
            number: [video for shard in shards for video in rows[shard]]
            for number, shards in enumerate(self._plan.embedded)
        }
        variant = self._settings.motion_network[index.wildcards["variant"]]
        try:
            return build_motion_embedding_extractor(variant, model=model), videos
        except MoclipError:  # a stand-in
            return None, videos

    def _motion_rows(self, index: str) -> dict[int, list[Video]]:
        # The videos of motion shards, each with the digest of its motion.
        if index not in self._motion:
            self._motion[index] = {shard: list_motion(Path(index), shards=[shard]) for shard in self._plan.shards}
        return self._motion[index]

    def expect_shard(self, job: Job) -> ExpectedJob:
        features = self._feature_set(job)
        videos = features.videos[int(job.wildcards["shard"])]
        if features.extractor is None or features.pool is None:
            return ExpectedJob(job=job, num_made=len(videos), num_units=len(videos))
        cached = self._pools.rows(features.pool)
        missing = {key for key in map(features.extractor.row_key, videos) if key not in cached}
        num_new = self._count_new(str(features.pool), missing)
        return ExpectedJob(
            job=job, num_made=num_new, num_units=num_new, rate_key=features.pool.name, pool=features.pool
        )

    def expect_index(self, job: Job) -> ExpectedJob:
        features, file = self._feature_set(job), job.outputs["index"]
        rows = {shard: self._digests(features, videos, file=file) for shard, videos in features.videos.items()}
        if job.rule == "motion_index":
            path = Path(file)
            self._motion[file] = {
                shard: [Video(video_id=name, path=path, fingerprint=digest) for name, digest in listed]
                for shard, listed in rows.items()
            }
        shards = [ShardRows(file=shard_file(shard), rows=tuple(sorted(listed))) for shard, listed in rows.items()]
        extractor = features.extractor
        store_index(
            self._expected_file(file),
            shards=shards,
            extractor=extractor.name if extractor else "",
            provenance=extractor.provenance if extractor else {},
            subsets=list_subsets(self._locate(self._manifest)),
        )
        return ExpectedJob(job=job)

    def _digests(self, features: _FeatureSet, videos: list[Video], *, file: str) -> list[tuple[str, str]]:
        extractor, cached = features.extractor, self._pools.rows(features.pool) if features.pool else {}
        keys = {video.video_id: extractor.row_key(video) if extractor else video.fingerprint for video in videos}
        known = {name: cached[key] for name, key in keys.items() if key in cached}
        present = self._present_digests(Path(file).parent) if self._keeps and len(known) < len(keys) else {}
        unknown = f"unknown {features.pool or file}"  # a video has the same key in every pool
        return [(name, known.get(name) or present.get(name) or f"{unknown} {key}") for name, key in keys.items()]

    def _present_digests(self, folder: Path) -> dict[str, str]:
        digests: dict[str, str] = {}
        for path in folder.glob("shard-*.h5"):
            with suppress(ShardError), Shard(path) as shard:  # damaged, or of an earlier format
                digests |= dict(zip(shard.video_ids, shard.digests, strict=True))
        return digests

    def expect_text(self, job: Job) -> ExpectedJob:
        variant = self._settings.text[job.wildcards["variant"]]
        found = find_class_embeddings(
            self._locate(self._manifest),
            variant=variant,
            appearance=self._settings.appearance[variant.appearance],
            cache_dir=self._cache_dir,
        )
        if found is None:
            self._write_stand_in(job)
            return ExpectedJob(job=job, num_made=1, num_units=1)
        self._expected_file(job.outputs["classes"]).write_bytes(found)
        return ExpectedJob(job=job)

    def expect_network(self, job: Job) -> ExpectedJob:
        variant = self._settings.motion_network[job.wildcards["variant"]]
        training = motion_stage.describe_training(
            self._locate(self._manifest),
            motion_index=self._locate(job.input_files("motion")[0]),
            variant=variant,
            split=int(job.wildcards["split"]),
            seed=int(job.wildcards["seed"]),
            cache_dir=self._cache_dir,
        )
        found = motion_stage.find_network(training, cache_dir=self._cache_dir)
        if found is not None:
            for file, content in zip(job.files, found.values(), strict=True):
                self._expected_file(file).write_bytes(content)
            return ExpectedJob(job=job)
        self._write_stand_in(job)
        num_new = self._count_new("networks", {training.key})
        units = num_new * training.num_videos * variant.train.epochs
        return ExpectedJob(job=job, num_made=num_new, num_units=units, rate_key=motion_stage.rate_key(variant))

    def expect_heads(self, job: Job) -> ExpectedJob:
        split, described = int(job.wildcards["split"]), json.loads(job.params()["cfg"])
        digests = self._head_digests(job, described=described)
        if any(digest.startswith("unknown") for digest in digests.values()):
            self._write_stand_in(job)
        with replace_atomically(self._expected_file(job.outputs["heads"])) as path:
            head_files.write_seed_digests(path, digests)
        named = described["seeds"].values()
        for files in named:
            files |= {name: str(self._locate(file)) for name, file in files.items()}
        runs = list_head_runs(described)
        try:
            manifest = self._locate(self._manifest)
            missing = list_missing_heads(runs, manifest=manifest, split=split, cache_dir=self._cache_dir)
        except MoclipError:  # a stand-in of class embeddings
            missing = {f"{job.files[0]} {run.seed} {method}" for run in runs for method in list_heads(run.methods)}
        num_new = self._count_new("heads", missing)
        key = head_files.rate_key(runs[0].config)
        return ExpectedJob(job=job, num_made=num_new, num_units=num_new, rate_key=key)

    def _head_digests(self, job: Job, *, described: Mapping[str, Any]) -> dict[int, str]:
        """Return the digest of the heads of each seed: the noted one if all that they are made from is as it was."""
        params, digests = job.params(), dict[int, str]()
        before = dict(self._noted_contents(job))
        for seed in described["seeds"]:
            run = self._plan.job(
                "evaluate", experiment=job.wildcards["experiment"], split=job.wildcards["split"], seed=seed
            )
            tested = read_record(run.files)
            noted = tested["params"]["head"].removeprefix("sig:") if tested else ""
            content = _describe_head(described, params=params, seed=seed, plan=self._plan, split=job.wildcards["split"])
            is_same = seed in before and before[seed] == content
            digests[int(seed)] = noted if noted and (is_same or self._keeps) else f"unknown {job.files[0]} {seed}"
        return digests

    def _noted_contents(self, job: Job) -> Iterator[tuple[str, Any]]:
        # What the heads of each seed were made from, if the files behind their record are still those.
        record = read_record(job.files)
        if record is None:
            return
        params, split, plan = record["params"], job.wildcards["split"], self._present
        described = json.loads(params["cfg"])
        files = [named for _, named in sorted(described["seeds"].items(), key=lambda item: int(item[0]))]
        indexes = [named[name] for named in files for name in ("motion", "appearance") if name in named]
        features = plan.signatures.subset_rows(list(dict.fromkeys(indexes)), split=split, subsets=LEARNED)
        if features == params["features"]:
            for seed in described["seeds"]:
                yield seed, _describe_head(described, params=params, seed=seed, plan=plan, split=split)


def _describe_head(
    described: Mapping[str, Any], *, params: Mapping[str, str], seed: str, plan: Plan, split: str
) -> Any:
    """Return all that the heads of one seed are made from, by content."""
    signed = {
        name: plan.signatures.subset_rows([file], split=split, subsets=LEARNED)
        if name in ("motion", "appearance")
        else plan.signatures.model(file)
        for name, file in described["seeds"][seed].items()
    }
    return [{key: described[key] for key in ("methods", "head", "shots")}, params["sig"], params["classes"], signed]


_EXPECT: Mapping[str, Callable[[_Pass, Job], ExpectedJob]] = {
    "videos": _Pass.expect_listing,
    "near_duplicates": _Pass.expect_near_duplicates,
    "manifest": _Pass.expect_listing,
    "motion_shard": _Pass.expect_shard,
    "appearance_shard": _Pass.expect_shard,
    "motion_embedding_shard": _Pass.expect_shard,
    "motion_index": _Pass.expect_index,
    "appearance_index": _Pass.expect_index,
    "motion_embedding_index": _Pass.expect_index,
    "text": _Pass.expect_text,
    "motion_network": _Pass.expect_network,
    "head": _Pass.expect_heads,
}
