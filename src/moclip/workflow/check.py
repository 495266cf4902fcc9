"""The check of all results before a run, against the plan and the records next to them.

Outputs are removed that were made for other params, or whose bytes are not those that were written. The engine makes
them again, from the cache. So a lost `.snakemake` folder, an edited or a damaged file never leads to a stale result.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moclip.file_digests import digest_file, stat_version
from moclip.workflow.paths import STAGE_FOLDERS
from moclip.workflow.plan import Job, Plan
from moclip.workflow.records import read_record, record_path, store_record

# Files that commands store in the folder of a run.
_KEPT_NAMES = frozenset({"calibration.json"})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A job whose outputs must be removed, and why.

    The reason is `edited`, `other` (made for other params), `unknown` (without a record) or `forgotten` (the engine has
    no note of its params).
    """

    job: Job
    reason: str


def check_results(plan: Plan, *, noted_params: Callable[[str], Collection[str] | None]) -> list[Finding]:
    """Return the jobs whose outputs must be removed before a run, those above others first.

    `noted_params` gives the params that the engine noted for an output, or None. If these differ from the wanted ones,
    the engine runs the job anyway. Without a note it would not see params that change during the run, so such outputs
    are listed if anything above them runs. The record of outputs with new times but the recorded bytes is updated.
    """
    findings: list[Finding] = []
    runs: set[Job] = set()
    for job in plan.jobs:
        present = [file for file in job.files if Path(file).exists()]
        below = not runs.isdisjoint((*job.above, *job.gates))
        reason = _find_fault(job, present=present) if present else ""
        if reason == "other" and _starts(job, noted_params=noted_params):
            reason, below = "", True
        elif not reason and below and any(noted_params(file) is None for file in present):
            reason = "forgotten"
        if reason:
            findings.append(Finding(job=job, reason=reason))
        if reason or below or len(present) < len(job.files):
            runs.add(job)
    return findings


def _starts(job: Job, *, noted_params: Callable[[str], Collection[str] | None]) -> bool:
    # Returns whether the engine runs the job by its own note: it compares params as a set of their representations.
    wanted = set(map(repr, job.params().values()))
    noted = [noted_params(file) for file in job.files]
    return all(params is not None for params in noted) and any(set(params or ()) != wanted for params in noted)


def _find_fault(job: Job, *, present: Sequence[str]) -> str:
    note = read_record(job.files)
    if note is None:
        return "unknown"
    if note["params"] != job.params():
        return "other"
    recorded, renewed = note["outputs"], False
    for file in present:
        version = stat_version(Path(file))
        if recorded.get(file, [])[1:] != version:
            if file not in recorded or digest_file(Path(file)) != recorded[file][0]:
                return "edited"
            recorded[file], renewed = [recorded[file][0], *version], True
    if renewed:
        store_record(job.files, note)
    return ""


def remove_outputs(findings: Iterable[Finding]) -> None:
    """Remove the outputs of jobs, and their records."""
    for finding in findings:
        files = finding.job.files
        for path in (*map(Path, files), record_path(files[0])):
            path.unlink(missing_ok=True)


def reset_future_times(plan: Plan) -> None:
    """Set the time of results that seem to come from the future to now: the engine refuses them."""
    now = time.time()
    for job in plan.jobs:
        for file in job.files:
            if Path(file).exists() and Path(file).stat().st_mtime > now:
                os.utime(file)


def list_orphans(plans: Sequence[Plan]) -> list[str]:
    """Return the files in the results of the plans' datasets that belong to no job of any plan, sorted."""
    wanted = {file for plan in plans for file in plan.targets()}
    folders = {f"{plan.paths.results}/{stage}" for plan in plans for stage in STAGE_FOLDERS}
    found = [
        f"{folder}/{name}"
        for top in folders
        for folder, _, names in os.walk(top)
        for name in names
        if not name.startswith(".") and name not in _KEPT_NAMES
    ]
    return sorted(file for file in found if file not in wanted)


def remove_orphans(files: Iterable[str]) -> list[str]:
    """Remove files that belong to no job, with their records and the folders that become empty; return a line each."""
    lines = []
    for file in files:
        path = Path(file)
        path.unlink()
        record_path(path).unlink(missing_ok=True)
        with suppress(OSError):  # a folder that is not empty stays
            for folder in path.parents:
                folder.rmdir()
        lines.append(f"removed {file}: it belongs to no experiment")
    return lines
