# Shared by all rules: the checked configuration, the plan of all jobs, and what rules ask it for (moclip.workflow.engine).
import os
import sys
from pathlib import Path

from moclip.config.validation import check_config
from moclip.core.files import read_yaml
from moclip.errors import MoclipError
from moclip.dataset.manifest import dataset_signature
from moclip.workflow.engine import Rules
from moclip.workflow.plan import open_plan
from moclip.workflow.preflight import check_sources
from moclip.workflow.shipped import environment_file, find_shipped

# Documents the software of every rule. Jobs run in the environment of snakemake itself, unless `--sdm conda` is given.
ENVIRONMENT = environment_file(HOME, uses_conda=bool(workflow.deployment_settings.deployment_method))


def stop(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def read_settings():
    """Return the settings and the digest of the dataset's listing. A wrong configuration ends the run here."""
    try:
        # A job's own process on a cluster checks nothing and lists no files: the main process has done so.
        is_main = workflow.is_main_process
        for file in dict.fromkeys([*workflow.overwrite_configfiles, *workflow.configfiles]) if is_main else ():
            read_yaml(Path(file))  # which refuses a key that is there twice
        settings = find_shipped(check_config(config, overrides=workflow.config_settings.config), home=HOME)
        listed = is_main and settings.dataset.generate == "none"
        listing = dataset_signature(settings.dataset) if listed else None
        if is_main:
            check_sources(settings, listing=listing)
        return settings, listing
    except MoclipError as error:
        stop(error)


# Without it cuBLAS may give other bits with each run on a GPU. Jobs inherit it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Scripts read `snakemake.config`: they see the checked configuration, its defaults filled in.
SETTINGS, LISTING = read_settings()
config.clear()
config.update(SETTINGS.canonical())
plan = open_plan(SETTINGS, scripts=HOME / "workflow/scripts", listing=LISTING)
paths = plan.paths
rules_of_plan = Rules(
    plan,
    ancient=ancient,
    before=lambda: check_results_once(),
    refuse=lambda target: refuse_target(target),
    # Snakemake knows where jobs run only after it has read the rules.
    is_local=lambda: workflow.local_exec,
)
inputs, outputs, params = rules_of_plan.inputs, rules_of_plan.outputs, rules_of_plan.params
asks, threads_of = rules_of_plan.asks, rules_of_plan.threads


wildcard_constraints:
    variant="[A-Za-z0-9][A-Za-z0-9_-]*",
    experiment="[A-Za-z0-9][A-Za-z0-9_.-]*",
    shard=r"\d+",
    split=r"\d+",
    seed=r"\d+",
