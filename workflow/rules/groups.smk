# Groups of jobs that share a Slurm job, kept together while checkpoints end.
#
# Snakemake 9.27 forms every group anew when a checkpoint has ended, also those that run: one that runs is merged with
# jobs that have become ready and is submitted again with them, its jobs are counted twice, and the run ends early with
# "Missing files". What is submitted or about to be stays here as it is, and groups are formed of the other jobs.
from itertools import filterfalse

from snakemake.dag import DAG
from snakemake.jobs import GroupJobFactory


def form_groups_of_the_rest(dag, form_groups=DAG.update_groups):
    """Form groups of the jobs that have to run and are in no group that runs or is ready to."""
    kept = {job: group for group in dag._running | dag._ready_jobs if group.is_group() for job in group}
    needrun_jobs = dag.needrun_jobs
    dag.group_job_factory = GroupJobFactory()  # its groups have been merged with others
    dag.needrun_jobs = lambda *arguments: filterfalse(kept.__contains__, needrun_jobs(*arguments))
    try:
        form_groups(dag)
    finally:
        del dag.needrun_jobs
    dag._group.update(kept)


if DAG.update_groups.__name__ == "update_groups":  # the Snakefile may be read twice by one process
    DAG.update_groups = form_groups_of_the_rest
