"""Why a file of the results is stale or fresh, in words, from a dry run and from what the engine noted of it."""

import ast
import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from moclip.dry_run import PlannedJob, explain_params, explain_reason, parse_dry_run, trace_target
from moclip.errors import MoclipError

# Names of the engine's notes are cut into folders of this length.
_MAX_NAME = 254


def run_dry(targets: Sequence[str], *, arguments: Sequence[str]) -> str:
    """Return what a dry run of the workflow prints.

    Raises:
        MoclipError: It fails; told in its last lines.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *arguments, *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next((line for line in told if "rror" in line or "Exception" in line), told[-1] if told else "?")
        more = told[told.index(reason) + 1 : told.index(reason) + 2] if told else []
        raise MoclipError(f"the dry run failed: {' '.join([reason, *more])}")
    return done.stdout + done.stderr


def explain_target(target: str, *, arguments: Sequence[str], folder: Path = Path()) -> str:
    """Return why a file is stale or fresh: which key, input or code, with old and new values.

    Raises:
        MoclipError: No rule makes the file, or the dry run fails.
    """
    jobs = parse_dry_run(run_dry([target], arguments=arguments))
    note = read_note(folder, target=target)
    chain = trace_target(target, jobs=jobs)
    if chain:
        return "\n".join(_explain_stale(target, chain=chain))
    if note is None:
        raise MoclipError(f"{target}: the engine has no note of it; name an output as `snakemake --summary` lists it")
    above = _find_pending(note, jobs=jobs, folder=folder)
    if above:
        return "\n".join(_explain_pending(target, above=above))
    return "\n".join(_explain_fresh(target, note=note))


def read_note(folder: Path, *, target: str) -> dict[str, Any] | None:
    """Return what the engine noted when it made a file, or None."""
    name = base64.urlsafe_b64encode(target.encode()).decode()
    parts = [name[start : start + _MAX_NAME] for start in range(0, len(name), _MAX_NAME)]
    path = folder.joinpath(".snakemake", "metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note


def _explain_stale(target: str, *, chain: Sequence[PlannedJob]) -> list[str]:
    lines = [f"{target}: stale; the next run makes it with the rule {chain[0].rule}, because"]
    lines += [f"  {line}" for line in explain_reason(chain[0].reason)]
    for job in chain[1:]:
        lines.append(f"{job.outputs[0]}: made anew by the rule {job.rule}, because")
        lines += [f"  {line}" for line in explain_reason(job.reason)]
    return lines


def _find_pending(note: dict[str, Any], *, jobs: Sequence[PlannedJob], folder: Path) -> list[PlannedJob]:
    # Jobs above a file that does not take part in the dry run: it waits for the content of what they make.
    makers = {name: job for job in jobs for name in job.outputs}
    found: list[PlannedJob] = []
    seen: set[str] = set()
    waiting = list(note["input"])
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name in makers:
            if makers[name] not in found:
                found.append(makers[name])
            continue
        above = read_note(folder, target=name)
        waiting += above["input"] if above else []
    return found


def _explain_pending(target: str, *, above: Sequence[PlannedJob]) -> list[str]:
    lines = [f"{target}: not decided yet; it is made again if the content of what is made anew above it changes"]
    for job in above:
        lines.append(f"{job.outputs[0]}: made anew by the rule {job.rule}, because")
        lines += [f"  {line}" for line in explain_reason(job.reason)]
    return lines


def _explain_fresh(target: str, *, note: dict[str, Any]) -> list[str]:
    when = datetime.fromtimestamp(note["endtime"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{target}: fresh; the rule {note['rule']} made it on {when}, and since then nothing of this changed"]
    for line in explain_params([], [str(ast.literal_eval(text)) for text in note["params"]]):
        lines.append("  " + line.replace("changed: ", "").replace("(none -> ", "(").replace("nothing -> ", ""))
    return [*lines, *(f"  input: {name}" for name in note["input"])]
