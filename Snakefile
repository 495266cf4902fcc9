# MoCLIP-Lite: from compressed video to a tested head. `snakemake --cores N` runs config/config.yaml;
# `snakemake --cores N --configfile mine.yaml` runs mine.yaml instead. docs/architecture.md explains the layout.
from pathlib import Path

from snakemake.utils import min_version

from moclip.workflow.shipped import find_home

min_version("9.0")

# The folder of this file, also where another workflow includes it or uses it as a module.
HOME = find_home(workflow.current_basedir.get_path_or_uri(secret_free=True))

# Files named on the command line, or by a workflow that includes this one, replace the default configuration: merged
# into it, they would inherit its variants.
if not workflow.overwrite_configfiles and not workflow.configfiles:

    configfile: "config/config.yaml" if Path("config/config.yaml").exists() else str(HOME / "config/config.yaml")


# What `snakemake --report` says first.
report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/manifest.smk"
include: "workflow/rules/motion.smk"
include: "workflow/rules/appearance.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/motion_network.smk"
include: "workflow/rules/heads.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/results.smk"


# Seconds each, and they decode nothing: on a cluster they run where snakemake runs.
localrules:
    all,
    motion_index,
    appearance_index,
    motion_embedding_index,
    motion_network_curve,
    evaluate,
    rejects,
    summary,
    comparisons,
    costs,
    report,


# Every output of every stage is listed here: a stage that fails while it is rebuilt is then never taken for done.
rule all:
    default_target: True
    input:
        rules_of_plan.targets,


onstart:
    note_run()


onsuccess:
    print_results()


onerror:
    print_failures(log)
