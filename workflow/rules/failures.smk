# What is said at the end of a run that failed: every job that no attempt finished, by name, and why.
import re

# A line of ours in a job's log, the last of which tells, or one that Slurm wrote when it ended the job: there the first.
OURS = re.compile(r"^(?:internal )?error: (.+)", flags=re.MULTILINE)
SLURMS = re.compile(r"^slurmstepd\S*: error: (.+)", flags=re.MULTILINE)


def read_log(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def reason_of(own, others):
    """Why a job ended, by its own log or else by those of Slurm, without Slurm's ornaments."""
    found = OURS.findall(read_log(own))[-1:] or [line for path in others for line in SLURMS.findall(read_log(path))]
    return found[0].strip("* ") if found else "no reason given"


def logs_beside(own, run_log):
    """The logs that the run's log names beside the job's own one at its last failure: Slurm's."""
    blocks = [block for block in re.split(r"^\[[A-Z]", run_log, flags=re.MULTILINE) if "Error in " in block]
    named = [re.findall(r"[^\s,]+\.log", block) for block in blocks]
    return [log for log in next((logs for logs in reversed(named) if own in logs), []) if log != own]


def name_of(job):
    return " ".join([job.rule.name, *(f"{name}={value}" for name, value in job.wildcards_dict.items())])


def print_failures(run_logs):
    """Print every job that failed in its last attempt, with the reason and its log."""
    jobs = [job for entry in workflow.scheduler.failed for job in (entry.jobs if entry.is_group() else [entry])]
    if not jobs:
        return
    run_log = "".join(read_log(path) for path in run_logs)
    print(f"\n{len(jobs)} jobs failed in their last attempt:", file=sys.stderr)
    for job in sorted(jobs, key=name_of):
        own = str(job.log[0])
        reason = reason_of(own, logs_beside(own, run_log))
        print(f"  {name_of(job)}: {reason} (log: {own})", file=sys.stderr)
    print("What was computed is kept: the same command goes on from there.\n", file=sys.stderr)
