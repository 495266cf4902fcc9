"""The plan: every job of a configuration, the files that it reads and writes, and the signature that it is made for.

A *gate* is a job whose output summarizes the jobs above it: the manifest, an index, a model. When a gate finishes, the
engine evaluates the params of its direct dependents again. So every job has all gates above it as direct inputs: it
waits until none of them can change any more, and everything it reads is final when it starts.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from moclip.config.experiments import Run, group_motion_shards, list_network_runs, list_runs, list_used
from moclip.config.settings import Settings
from moclip.core.code_digest import script_digests
from moclip.dataset.manifest import dataset_signature
from moclip.workflow import feature_rules, run_rules, table_rules
from moclip.workflow.jobs import Job, JobSpec, Output
from moclip.workflow.paths import RULES, Paths
from moclip.workflow.signatures import PENDING, Contents, Signatures

# The function of each rule: it takes a plan and the wildcards of a job, and returns the job's dependencies.
_RULES: Mapping[str, Callable[..., JobSpec]] = {
    name: function
    for module in (feature_rules, run_rules, table_rules)
    for name, function in vars(module).items()
    if name in RULES
}


class Plan:
    """All jobs of a configuration."""

    def __init__(
        self,
        settings: Settings,
        *,
        code: Callable[[str], str] = str,
        listing: Callable[[], str] = str,
        expected: Path | None = None,
    ) -> None:
        """Take the settings, and the sources of signatures that are not part of them.

        `code` returns the digest of a rule's code, `listing` that of the dataset's videos and lists. Without them the
        plan has the right files, and params without these parts. `expected` is as for `Signatures`.
        """
        dataset = settings.dataset
        self.settings, self.paths = settings, Paths(dataset=dataset.name)
        # Shards are made from a table of their own where the splits depend on the features in them.
        self.splits_follow = dataset.near_duplicates.keep_together
        self.signatures = Signatures(
            self.paths.outputs("manifest")["manifest"],
            videos=self.paths.outputs("videos")["videos"] if self.splits_follow else "",
            expected=expected,
        )
        self.contents = Contents(settings.cache_dir)
        self.code, self.listing = code, listing
        self._jobs: dict[tuple[str, ...], Job] = {}
        self.shards = range(dataset.num_shards)
        self.embedded = group_motion_shards(dataset.num_shards)
        self.complete = str(Path(dataset.root).parent / "complete.json") if dataset.generate != "none" else ""
        self.runs, self.network_runs = list_runs(settings), list_network_runs(settings)
        # The misclassified videos of the first experiment are shown.
        self.mistaken = next(iter(settings.experiments)) if settings.report.mistakes else ""

    def job(self, rule: str, **wildcards: Any) -> Job:
        """Return the job of a rule with these wildcards."""
        values = {name: str(value) for name, value in wildcards.items()}
        key = (rule, *(f"{name}={value}" for name, value in sorted(values.items())))
        if key not in self._jobs:
            spec = _RULES[rule](self, **values)
            patterns = {"complete": self.complete} if rule == "demo_dataset" else self.paths.outputs(rule)
            self._jobs[key] = Job(
                rule=rule,
                wildcards=values,
                inputs=spec.inputs,
                outputs={name: pattern.format(**values) for name, pattern in patterns.items()},
                params=lambda: {**spec.params(), "code": self.code(rule)},
                also=spec.also,
            )
        return self._jobs[key]

    def output(self, rule: str, name: str, **wildcards: Any) -> Output:
        """Return an output of the job of a rule with these wildcards."""
        return Output(self.job(rule, **wildcards), name)

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Every job, each behind those above it."""
        found: dict[Job, None] = {}

        def add(job: Job) -> None:
            if job not in found:
                for above in job.above:
                    add(above)
                found[job] = None

        for job in self._wanted():
            add(job)
        return tuple(found)

    def _wanted(self) -> Iterator[Job]:
        for run in self.network_runs:
            yield self.job("motion_network_curve", variant=run.experiment, split=run.split, seed=run.seed)
        for run in self.runs:
            yield self.job("evaluate", experiment=run.experiment, split=run.split, seed=run.seed)
        if self.settings.report.pictures:
            networks = list_used(self.settings, "motion_network")
            yield from (self.job("motion_pictures", variant=name) for name in networks)
        yield from (self.job("text", variant=name) for name in list_used(self.settings, "text"))
        yield self.job("report")

    def targets(self) -> list[str]:
        """Return every output of every job: a missing one is made."""
        return [file for job in self.jobs for file in job.files]

    def seeds(self, experiment: str, split: int | str) -> list[Run]:
        """Return the runs of an experiment on a split, a run for each seed."""
        return [run for run in self.runs if run.experiment == experiment and run.split == int(split)]


def open_plan(settings: Settings, *, scripts: Path, listing: str | None = None, expected: Path | None = None) -> Plan:
    """Return the plan of checked settings whose rules run the scripts of a folder.

    `listing` is the digest of the dataset's listing where the caller has it, as `manifest.dataset_signature` gives it.
    `expected` is as for `Signatures`.
    """
    digests = script_digests(scripts, memo=Path(settings.cache_dir, "code"))

    def sign_listing() -> str:
        if listing is None and plan.complete and not Path(plan.complete).is_file():
            return PENDING  # rendered videos that do not exist yet
        return f"sig:{listing or dataset_signature(settings.dataset)}"

    plan = Plan(settings, code=lambda rule: f"code:{digests[rule]}", listing=sign_listing, expected=expected)
    return plan
