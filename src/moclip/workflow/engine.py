"""Functions of wildcards that the rule files hand to Snakemake as inputs, params, threads and resources."""

from collections.abc import Callable
from typing import Any

from moclip.workflow.jobs import Job, Output
from moclip.workflow.plan import Plan
from moclip.workflow.resources import RESOURCES, JobResources

# A function of the engine's wildcards and, for resources, of the number of the attempt.
Of = Callable[..., Any]


class Rules:
    """The inputs, params and resources of rules by name, each as a function of wildcards."""

    def __init__(
        self,
        plan: Plan,
        *,
        ancient: Callable[[str], Any],
        before: Callable[[], None],
        refuse: Callable[[str], None],
        is_local: Callable[[], bool],
    ) -> None:
        """Take the plan, and functions of the engine.

        `ancient` marks an input whose time does not count, `before` is called before any input is looked at, `refuse`
        ends the run with a line about a file that the configuration does not have, and `is_local` returns whether jobs
        run on this machine.
        """
        self._plan, self._ancient, self._before, self._refuse = plan, ancient, before, refuse
        self._resources = JobResources(plan, is_local=is_local)

    def _job(self, rule: str, wildcards: Any) -> Job:
        return self._plan.job(rule, **dict(wildcards.items()))

    def outputs(self, rule: str) -> dict[str, str]:
        """Return the outputs of a rule, as patterns."""
        return self._plan.paths.outputs(rule)

    def inputs(self, rule: str, *names: str) -> dict[str, Of]:
        """Return the inputs of a rule: those it names, and all gates above it.

        Inputs are `ancient`, so that only their content counts, in params. Those that `Job.follows` names start the job
        by their times.
        """

        def files(name: str) -> Of:
            def of(wildcards: Any) -> Any:
                self._before()
                try:
                    job = self._job(rule, wildcards)
                except LookupError:  # a variant, experiment or shard of another name
                    self._refuse(next(iter(self.outputs(rule).values())).format(**dict(wildcards.items())))
                    raise
                found: list[Any] = job.gate_files(named=names) if name == "gates" else job.input_files(name)
                found = found if job.follows(name) else [self._ancient(file) for file in found]
                return found[0] if isinstance(job.inputs.get(name), Output) else found

            return of

        return {name: files(name) for name in (*names, "gates")}

    def params(self, rule: str, *names: str) -> dict[str, Of]:
        """Return the params of a rule, each one text: Snakemake compares them as a set."""
        latest: dict[Job, dict[str, str]] = {}

        def value(name: str) -> Of:
            def of(wildcards: Any) -> str:
                job = self._job(rule, wildcards)
                # Snakemake asks for all params of a job in turn: they are computed for the first.
                if name == names[0] or job not in latest:
                    latest[job] = job.params()
                return latest[job][name]

            return of

        return {name: value(name) for name in (*names, "code")}

    def asks(self, rule: str) -> dict[str, Of]:
        """Return the resources of a rule."""

        def amount(name: str) -> Of:
            return lambda wildcards, attempt: self._resources.ask(
                rule, name, attempt=attempt, **dict(wildcards.items())
            )

        return {name: amount(name) for name in RESOURCES[rule]}

    def threads(self, rule: str) -> Of:
        """Return the threads of a rule."""
        return lambda wildcards: self._resources.ask(rule, "threads", **dict(wildcards.items()))

    def targets(self, wildcards: Any) -> list[str]:
        """Return every output of every job."""
        self._before()
        return self._plan.targets()
