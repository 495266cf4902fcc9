"""The plan: every job of a configuration, the files that it reads and writes, and the signature that it is made for.

A *gate* is a job whose output summarizes what is above it: the manifest, an index, a model. When a gate finishes, the
engine evaluates the params of its direct dependents again. So every job has all gates above it as direct inputs: it
waits until none of them can change any more, and everything it reads is final when it starts.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from moclip.config.experiments import Run, group_motion_shards, list_network_runs, list_runs, list_used
from moclip.config.settings import Settings
from moclip.workflow.jobs import Job, JobSpec, Wildcards
from moclip.workflow.paths import Paths
from moclip.workflow.signatures import Contents, Signatures

# The function of a rule: it takes a plan and the wildcards of a job, and returns the job's dependencies.
Rule = Callable[..., JobSpec]


class Plan:
    """All jobs of a checked configuration."""

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        rules: Mapping[str, Rule],
        code: Callable[[str], str],
        listing: Callable[[], str],
        contents: Contents,
    ) -> None:
        """Take the configuration, the rules, and the sources of signatures that are not part of the configuration.

        `code` gives the digest of a rule's code, `listing` that of the dataset's videos and lists (or `sig:pending`),
        `contents` those of small files that the configuration names.
        """
        self.config, self.paths = config, Paths(dataset=config["dataset"]["name"])
        self.signatures = Signatures(self.paths.outputs("manifest")["manifest"])
        self.code, self.listing, self.contents = code, listing, contents
        self._rules = rules
        self._jobs: dict[tuple[str, ...], Job] = {}
        dataset = config["dataset"]
        self.shards = range(dataset["num_shards"])
        self.embedded = group_motion_shards(dataset["num_shards"])
        self.complete = str(Path(dataset["root"]).parent / "complete.json") if dataset["generate"] == "demo" else ""
        self.settings = Settings(**config)
        self.runs = list_runs(self.settings)
        self.network_runs = list_network_runs(self.settings)
        self.motion = list_used(self.settings, "motion")
        self.appearance = list_used(self.settings, "appearance")
        # The misclassified videos of the first experiment are shown.
        self.mistaken = next(iter(config["experiments"])) if config["report"]["mistakes"] else ""

    def job(self, rule: str, **wildcards: Any) -> Job:
        """Return the job of a rule with these wildcards."""
        values = {name: str(value) for name, value in wildcards.items()}
        key = (rule, *(f"{name}={value}" for name, value in sorted(values.items())))
        if key not in self._jobs:
            spec = self._rules[rule](self, **values)
            self._jobs[key] = Job(
                rule=rule,
                wildcards=values,
                inputs={name: [found] if isinstance(found, tuple) else found for name, found in spec.inputs.items()},
                single=frozenset(name for name, found in spec.inputs.items() if isinstance(found, tuple)),
                outputs={"complete": self.complete} if rule == "demo_dataset" else self._outputs(rule, values),
                params=lambda: {**spec.params(), "code": self.code(rule)},
                follows=spec.follows,
                also=spec.also,
            )
        return self._jobs[key]

    def _outputs(self, rule: str, wildcards: Wildcards) -> dict[str, str]:
        return {name: pattern.format(**wildcards) for name, pattern in self.paths.outputs(rule).items()}

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
            yield self.run_job(run)
        if self.config["report"]["pictures"]:
            yield from (
                self.job("motion_pictures", variant=name) for name in list_used(self.settings, "motion_network")
            )
        yield from (self.job("text", variant=name) for name in list_used(self.settings, "text"))
        yield self.job("report")

    def targets(self) -> list[str]:
        """Return every output of every job: a missing one is made."""
        return [file for job in self.jobs for file in job.files]

    def run_job(self, run: Run) -> Job:
        """Return the job that tests a run."""
        return self.job("evaluate", experiment=run.experiment, split=run.split, seed=run.seed)
