"""Functions of wildcards that the rule files hand to Snakemake as inputs, params, threads and resources."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moclip.workflow.jobs import Job, Output
from moclip.workflow.plan import Plan
from moclip.workflow.resources import RESOURCES, JobResources

# A function of the engine's wildcards and, for resources, of the number of the attempt.
Of = Callable[..., Any]


class Rules:
    """The inputs, params and resources of rules by name, each as a function of wildcards."""

    def __init__(
        self, plan: Plan, *, ancient: Callable[[str], Any], before: Callable[[], None], is_local: Callable[[], bool]
    ) -> None:
        """Take the plan, and functions of the engine.

        `ancient` marks an input whose time does not count, `before` is called before any input is looked at, and
        `is_local` returns whether jobs run on this machine.
        """
        self._plan, self._ancient, self._before = plan, ancient, before
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
                job = self._job(rule, wildcards)
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


_EDITABLE = "- --editable ."

# Settings of a variant that name files which the project ships.
_SHIPPED = {"text": ("templates", "phrases"), "appearance": ("model", "weights")}

_LOCAL_DIR = "local-dir:"


def find_shipped(config: Mapping[str, Any], *, home: Path) -> dict[str, Any]:
    """Return a configuration as given, with paths of shipped files that start from the project's folder.

    In another working directory a relative path that does not exist there, and does exist below `home`, is that file.
    """
    found = dict(config)
    for section, keys in _SHIPPED.items():
        variants = found.get(section)
        if not isinstance(variants, Mapping):
            continue
        found[section] = {
            name: {key: _find_file(value, home=home) if key in keys else value for key, value in variant.items()}
            if isinstance(variant, Mapping)
            else variant
            for name, variant in variants.items()
        }
    return found


def _find_file(value: Any, *, home: Path) -> Any:
    if not isinstance(value, str):
        return value
    path = Path(value.removeprefix(_LOCAL_DIR))
    if path.is_absolute() or path.exists() or "/" not in value or not (home / path).exists():
        return value
    return f"{_LOCAL_DIR if value.startswith(_LOCAL_DIR) else ''}{home / path}"


def environment_file(home: Path, *, uses_conda: bool) -> str:
    """Return the conda environment of the rules.

    Conda installs it from another folder, so that it gets a copy that names this project by its whole path.
    """
    own = home / "environment.yml"
    if not uses_conda:
        return str(own)
    copy = Path(".snakemake", "moclip-environment.yml").absolute()
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(own.read_text(encoding="utf-8").replace(_EDITABLE, f"- --editable {home}"), encoding="utf-8")
    return str(copy)
