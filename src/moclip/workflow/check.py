"""Check all results before a run against the plan and their records.

Outputs that were made for other params, or whose bytes were changed, are removed. The engine makes them again from the
cache. So a lost `.snakemake` folder, an edited or a damaged file never leads to a stale result.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from moclip.core.digests import digest_file, stat_version
from moclip.core.records import read_record, record_path, store_record
from moclip.errors import ConfigError
from moclip.workflow.jobs import Job
from moclip.workflow.paths import STAGE_FOLDERS
from moclip.workflow.plan import Plan

# Files that commands store in the folder of a run.
_KEPT_NAMES = frozenset({"calibration.json"})
_REASONS = {
    "edited": "changed after they were made",
    "other": "made for other settings or inputs",
    "unknown": "without a record of their settings and inputs",
    "forgotten": "of which Snakemake has no note",
}
_SMALL_GATES = frozenset({"manifest", "motion_index", "appearance_index", "motion_embedding_index"})
# The triggers without which a change is not seen.
_TRIGGERS = {"params", "mtime", "input"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A job whose outputs must be removed, and why.

    The reason is `edited`, `other` (made for other params, or from inputs that have changed), `unknown` (without a
    record) or `forgotten` (the engine has no note of its params).
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
    files = _Files(plan.jobs)
    for job in plan.jobs:
        present = [file for file in job.files if Path(file).exists()]
        below = not runs.isdisjoint((*job.above, *job.gates))
        reason = files.find_reason(job, present=present) if present else ""
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


class _Files:
    """The digests of files, each computed once. Files whose content other jobs compare are read in every run."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        # The manifest and the indexes are read as well: a damaged one would show results below it as stale.
        self._read_always = {file for job in jobs for file in job.read_files()}
        self._read_always |= {file for job in jobs if job.rule in _SMALL_GATES for file in job.files}
        self.digest = cache(lambda file: digest_file(Path(file)))

    def find_reason(self, job: Job, *, present: Sequence[str]) -> str:
        """Return the reason to remove the outputs of a job that exist, or ""."""
        note = read_record(job.files)
        if note is None:
            return "unknown"
        recorded, renewed = note["outputs"], False
        for file in present:
            digest, *version = recorded.get(file, [""])
            found = stat_version(Path(file))
            if (version != found or file in self._read_always) and self.digest(file) != digest:
                return "edited"
            renewed = renewed or version != found
            recorded[file] = [digest, *found]
        if note["params"] != job.params() or not self._has_read(job, noted=note["inputs"]):
            return "other"
        if renewed:
            store_record(job.files, note)
        return ""

    def _has_read(self, job: Job, *, noted: Mapping[str, str]) -> bool:
        # Returns whether the inputs have the recorded content. A missing one is made first, and then starts the job.
        return all(noted.get(file) == self.digest(file) for file in job.read_files() if Path(file).exists())


def describe_findings(findings: Sequence[Finding], *, runs: bool) -> list[str]:
    """Return a line for each reason; `runs` is true if this run makes the outputs again."""
    lines = []
    for reason in dict.fromkeys(finding.reason for finding in findings):
        files = [finding.job.files[0] for finding in findings if finding.reason == reason]
        shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        done = "made again from the cache" if runs else "a run makes them again"
        lines.append(f"note: results {_REASONS[reason]}, {done}: {shown}")
    return lines


def check_settings(*, options: Mapping[str, Any], triggers: Collection[str], results: str) -> None:
    """Refuse a run of a part of the graph, and triggers that do not see changes.

    `options` are the values of Snakemake's options for parts. Snakemake 9 loses the jobs that it plans at the first
    checkpoint if one of them is given, and reports success.

    Raises:
        ConfigError: An option is given, or a trigger is missing.
    """
    given = [name for name, value in options.items() if value]
    if given:
        raise ConfigError(
            f"{given[0]}: expected the files that are wanted, found a part of the graph, which Snakemake loses at the "
            f"manifest; name the files, as in `snakemake --cores 2 {results}/rejects.tsv`"
        )
    if not set(triggers) >= _TRIGGERS:
        raise ConfigError(
            "--rerun-triggers: expected `mtime params input` among them, without which changes are not seen; "
            "drop the option"
        )


def describe_target(target: str, *, plan: Plan, rules: Collection[str]) -> str:
    """Return a line about a target that no rule makes, with the nearest file or rule."""
    known = [*plan.targets(), *rules]
    near = get_close_matches(os.path.normpath(target), known, n=1) or get_close_matches(
        Path(target).name, [Path(name).name for name in known], n=1
    )
    nearest = next((name for name in known if near and name.endswith(near[0])), "")
    hint = f"the nearest is {nearest}" if nearest else f"such as {plan.paths.results}/report.html"
    return f"{target}: expected a file that the workflow makes, found no rule for it; {hint}"


def describe_profile(triggers: Collection[str], *, home: Path) -> list[str]:
    """Return a note for a run without the options of the default profile, which is found in the project only."""
    if "code" not in triggers:
        return []
    profile = home / "workflow/profiles/default"
    return [
        "note: this run lacks the options of the default profile, and the time stamp of a script reruns its jobs; give "
        f"--workflow-profile {profile}"
    ]


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


def describe_orphans(files: Sequence[str], *, results: str) -> list[str]:
    """Return a line about files that belong to no job, or none."""
    if not files:
        return []
    return [
        f"note: {len(files)} files in {results} belong to no experiment of this configuration, such as {files[0]}; "
        "they are not read; `moclip cache --remove-unused` removes them"
    ]


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
