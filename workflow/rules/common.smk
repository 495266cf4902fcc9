# Shared by all rules: the checked configuration, the plan of all jobs, and how a rule asks it for inputs and params.
import os
import sys
from pathlib import Path

from moclip.config.validation import check_config
from moclip.errors import MoclipError
from moclip.dataset.manifest import dataset_signature
from moclip.workflow.rules import open_plan
from moclip.workflow.resources import JobResources

# Documents the software of every rule; jobs run in the environment that snakemake itself runs in.
ENVIRONMENT = str(Path(workflow.basedir, "environment.yml"))


def stop(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def checked_config():
    """The configuration, checked, and the digest of the dataset's listing; a wrong configuration ends the run here."""
    try:
        settings = check_config(config)
        rendered = settings.dataset.generate != "none"
        # A job's own process on a cluster needs no listing of thousands of files: the main process has checked it.
        listed = workflow.is_main_process and not rendered
        return settings.canonical(), dataset_signature(settings.dataset) if listed else None
    except MoclipError as error:
        stop(error)


# Without it cuBLAS may give other bits with each run on a GPU. Jobs inherit it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Scripts read `snakemake.config`: they see the checked configuration, its defaults filled in.
CONFIG, LISTING = checked_config()
config.clear()
config.update(CONFIG)
plan = open_plan(CONFIG, scripts=Path(workflow.basedir, "workflow/scripts"), listing=LISTING)
paths = plan.paths
# Snakemake knows where jobs run only after it has read the rules.
resource = JobResources(plan, is_local=lambda: workflow.local_exec)


wildcard_constraints:
    variant="[A-Za-z0-9][A-Za-z0-9_-]*",
    experiment="[A-Za-z0-9][A-Za-z0-9_.-]*",
    shard=r"\d+",
    split=r"\d+",
    seed=r"\d+",


def outputs(rule):
    """The outputs of a rule, as patterns."""
    return paths.outputs(rule)


def inputs(rule, *names, **fixed):
    """The inputs of a rule: those it names, and all gates above it. `fixed` are wildcards of a rule that has none.

    Inputs are `ancient`, so that only their content counts, in params. Those in `Job.follows` start the job by their times.
    """

    def files(name):
        def of(wildcards):
            check_results_once()
            job = plan.job(rule, **fixed, **dict(wildcards.items()))
            found = job.gate_files(named=names) if name == "gates" else job.input_files(name)
            found = found if name in job.follows else [ancient(file) for file in found]
            return found[0] if name in job.single else found

        return of

    return {name: files(name) for name in (*names, "gates")}


def params(rule, *names, **fixed):
    """The params of a rule, each one text: Snakemake compares them as a set."""
    latest = {}

    def value(name):
        def of(wildcards):
            job = plan.job(rule, **fixed, **dict(wildcards.items()))
            # Snakemake asks for all params of a job in turn: they are computed for the first.
            if name == names[0] or job not in latest:
                latest[job] = job.params()
            return latest[job][name]

        return of

    return {name: value(name) for name in (*names, "code")}


def all_outputs(wildcards):
    """Every output of every job."""
    check_results_once()
    return plan.targets()
