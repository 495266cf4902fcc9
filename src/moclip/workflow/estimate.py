"""Estimate the next run: its jobs by rule, the rows and models that they compute, processor time and disk space.

Jobs, rows and models follow from the forecast, without computing any. Seconds are processor time as jobs on this
machine noted it; the seconds that a job takes to start are counted apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from moclip.cache.rates import Rate, read_rate
from moclip.cache.reader import Shard
from moclip.core.records import read_record
from moclip.errors import ShardError
from moclip.workflow.forecast import ExpectedJob, OpenPlan, forecast_jobs
from moclip.workflow.plan import Plan

# Where nothing was computed yet: seconds of a row, of a video in an epoch, of a head or of the embeddings of all
# classes, and of the start of a job. The output marks them as assumed.
ASSUMED_SECONDS: Mapping[str, tuple[float, float]] = {
    "motion": (0.05, 2.0),
    "appearance": (0.2, 15.0),
    "text": (10.0, 15.0),
    "motion_embedding": (0.4, 10.0),
    "motion_network": (0.05, 10.0),
    "head": (20.0, 5.0),
}
_ASSUMED_BYTES = {"motion": 45_000.0, "appearance": 2_300.0, "motion_embedding": 5_600.0}

# A job that takes everything from the cache, and one that computes a table or a page and has no record.
_START_SECONDS, _JOB_SECONDS = 1.5, 4.0


@dataclass(frozen=True, kw_only=True)
class RuleCost:
    """The jobs of one rule in the next run.

    `num_certain` of `num_jobs` jobs start in any case, the others if a result that must be computed first differs from
    the present one. `num_made` counts rows, networks, heads or class embeddings. `seconds` is processor time without
    `start_seconds`, and `source` says where the rate is from, "" if nothing is computed.
    """

    rule: str
    num_jobs: int
    num_certain: int
    num_made: int
    seconds: float
    start_seconds: float
    num_bytes: float
    source: str


@dataclass(frozen=True, kw_only=True)
class CostPlan:
    """The next run. Videos and frames are None before they are rendered or decoded.

    `num_new` videos have a content that the present manifest lacks. `num_uncounted` videos have not been decoded, and
    `num_frames` takes the mean of the others for them.
    """

    num_videos: int | None
    num_new: int
    num_frames: int | None
    num_uncounted: int
    rules: tuple[RuleCost, ...]

    def total(self, name: str) -> float:
        """Return the sum of a column over all rules."""
        return sum(float(getattr(rule, name)) for rule in self.rules)


def plan_cost(open_plan: OpenPlan) -> CostPlan:
    """Return the jobs and the cost of the next run. New and changed videos are read once, and nothing is computed.

    Raises:
        MoclipError: The run would fail: lists, prompts or weights are missing or wrong.
    """
    present = open_plan(None)
    forecast = forecast_jobs(open_plan)
    before = set(present.signatures.fingerprints())
    fingerprints = forecast.fingerprints
    counts = _count_frames(present, fingerprints=set(fingerprints))
    known = [counts[fingerprint] for fingerprint in fingerprints if fingerprint in counts]
    return CostPlan(
        num_videos=len(fingerprints) or None,
        num_new=sum(fingerprint not in before for fingerprint in fingerprints),
        num_frames=round(sum(known) + fmean(known) * (len(fingerprints) - len(known))) if known else None,
        num_uncounted=len(fingerprints) - len(known),
        rules=tuple(_list_costs(forecast.jobs, plan=present)),
    )


def _list_costs(jobs: Sequence[ExpectedJob], *, plan: Plan) -> Iterator[RuleCost]:
    cache_dir = Path(plan.settings.cache_dir)
    for rule in dict.fromkeys(entry.job.rule for entry in jobs):
        own = [entry for entry in jobs if entry.job.rule == rule]
        stage = rule.removesuffix("_shard")
        if stage in ASSUMED_SECONDS:
            seconds, start, source = _cost_of_stage(own, stage=stage, cache_dir=cache_dir)
        else:
            seconds, start, source = len(own) * _recorded_seconds(rule, plan=plan), 0.0, ""
        yield RuleCost(
            rule=rule,
            num_jobs=len(own),
            num_certain=sum(entry.is_certain for entry in own),
            num_made=sum(entry.num_made for entry in own),
            seconds=seconds,
            start_seconds=start,
            num_bytes=sum(entry.num_made * _row_size(entry.pool, stage=stage) for entry in own if entry.num_made),
            source=source,
        )


def _cost_of_stage(jobs: Sequence[ExpectedJob], *, stage: str, cache_dir: Path) -> tuple[float, float, str]:
    seconds, start = 0.0, 0.0
    rates: dict[str, Rate] = {}
    for entry in jobs:
        if entry.num_units:
            key = entry.rate_key
            if key not in rates:
                rates[key] = read_rate(cache_dir, stage=stage, key=key, assumed=ASSUMED_SECONDS[stage])
            seconds += entry.num_units * rates[key].unit_seconds
            start += rates[key].start_seconds
        else:
            start += _START_SECONDS
    return seconds, start, "; ".join(sorted({rate.source for rate in rates.values()}))


def _recorded_seconds(rule: str, *, plan: Plan) -> float:
    records = (read_record(job.files) for job in plan.jobs if job.rule == rule)
    found = [record["processor_seconds"] for record in records if record and record.get("processor_seconds")]
    return median(found) if found else _JOB_SECONDS


def _row_size(pool: Path | None, *, stage: str) -> float:
    sizes = []
    for path in sorted(pool.glob("*.h5"))[:32] if pool else ():
        with suppress(ShardError), Shard(path) as shard:
            if shard.row_keys:
                sizes.append(path.stat().st_size / len(shard.row_keys))
    return median(sizes) if sizes else _ASSUMED_BYTES.get(stage, 0.0)


def _count_frames(plan: Plan, *, fingerprints: set[str]) -> dict[str, int]:
    """Return the number of frames of every video whose motion is in the results, by its fingerprint."""
    counts: dict[str, int] = {}
    for job in plan.jobs:
        if job.rule == "motion_shard" and not fingerprints <= counts.keys():
            with suppress(ShardError), Shard(Path(job.outputs["shard"])) as shard:  # missing, or of an earlier format
                for index, key in enumerate(shard.row_keys):
                    row: Any = shard.read_row_at(index, check=False, load=False)
                    if key in fingerprints:
                        counts[key] = 0 if row.reject_reason else len(row.values["picture_type"])
    return counts
