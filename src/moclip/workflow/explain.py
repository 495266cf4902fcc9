"""Explain why a result is stale or fresh, from a dry run and from the engine's records."""

import ast
import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from moclip.errors import MoclipError

# Parts of a dry run's output.
_JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
_KEY = re.compile(r"^    (\w+): (.*)$")
_PARAMS = re.compile(r"before: (.*?) now: (.*?)(?=before: |$)")
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_FILES = re.compile(r"(Missing output files|Updated input files|Input files updated by another job): ([^;]*)")

_NOTHING = "<nothing exclusive>"
# Names of the engine's notes are cut into folders of this length.
_MAX_NAME = 254
_FILE_WORDS = {"Missing output files": "missing", "Updated input files": "changed on disk"}
_OTHER_REASONS = {
    "Set of input files has changed": "the list of its input files changed",
    "Incomplete output files": "a run was stopped while it was written",
    "Software environment definition has changed": "environment.yml changed",
    "Code has changed": "its script changed",
    "Forced execution": "it was asked for with --force",
}

# The meaning of the digests among the params.
_DIGESTS = {
    "code": "the code that the rule runs",
    "sig": "the videos, labels, features or models that the rule reads",
    "encoder": "the image encoder",
    "weights": "the weights that training starts from",
}
_NAMED = re.compile(r"([a-z]+):(.*)", flags=re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job that the next run would start: its rule, its files, and the reason in the engine's words."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reason: str


def parse_dry_run(text: str) -> tuple[PlannedJob, ...]:
    """Return the jobs that a dry run lists, in its order, without `all`."""
    blocks: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if found := _JOB.match(line):
            blocks.append((found[1], {}))
        elif blocks and (found := _KEY.match(line)):
            blocks[-1][1].setdefault(found[1], found[2])
    jobs = []
    for rule, block in blocks:
        inputs, outputs = (tuple(filter(None, block.get(key, "").split(", "))) for key in ("input", "output"))
        jobs.append(PlannedJob(rule=rule, inputs=inputs, outputs=outputs, reason=block.get("reason", "")))
    return tuple(job for job in jobs if job.rule != "all")


def explain_reason(reason: str) -> list[str]:
    """Return the reason of a job in words, a line for each change: which key, old and new value."""
    lines = []
    for kind, files in _FILES.findall(reason):
        lines += [f"{_FILE_WORDS.get(kind, 'made again')}: {name}" for name in files.strip().split(", ")]
    if "Params have changed" in reason:
        for before, now in _PARAMS.findall(reason.split("Params have changed", 1)[1]):
            lines += explain_params(_texts(before), _texts(now))
    lines += [words for mark, words in _OTHER_REASONS.items() if mark in reason]
    # A reason of another kind stays in the engine's words.
    return lines or [reason or "the engine gives no reason"]


def _texts(listed: str) -> list[str]:
    if listed.strip() == _NOTHING:
        return []
    return [str(ast.literal_eval(match[0])) for match in _TEXT.finditer(listed)]


def explain_params(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return how the params of a rule changed, a line for each key of the configuration or digest."""
    lines: list[str] = []
    for kind, words in _DIGESTS.items():
        old, new = ([text for text in texts if text.startswith(f"{kind}:")] for texts in (before, now))
        if old or new:
            lines.append(f"changed: {words} ({_list(old)} -> {_list(new)})")
    old_config, new_config = (_merge(texts) for texts in (before, now))
    for key in sorted(old_config.keys() | new_config.keys()):
        if old_config.get(key, ...) != new_config.get(key, ...):
            lines.append(f"changed: {key}: {_show(old_config, key)} -> {_show(new_config, key)}")
    return lines


def _list(digests: Sequence[str]) -> str:
    return ", ".join(digest.split(":", 1)[1][:12] for digest in digests) or "none"


def _merge(texts: Sequence[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for text in texts:
        if not text.startswith(tuple(f"{kind}:" for kind in _DIGESTS)):
            flat |= flatten(_parse(text))
    return flat


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        named = _NAMED.fullmatch(text)
        return {named[1]: named[2]} if named else text


def flatten(value: Any, *, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted path."""
    if not isinstance(value, Mapping) or not value:
        return {prefix or "value": value}
    flat: dict[str, Any] = {}
    for key, below in value.items():
        flat |= flatten(below, prefix=f"{prefix}.{key}" if prefix else str(key))
    return flat


def _show(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "nothing"


def trace(
    names: Sequence[str], *, jobs: Sequence[PlannedJob], above: Callable[[str], Sequence[str]] = lambda name: ()
) -> list[PlannedJob]:
    """Return the jobs that make some files, then those that make their inputs, in the order of a breadth-first search.

    `above` returns the inputs of a file that none of the jobs makes.
    """
    makers = {name: job for job in jobs for name in job.outputs}
    found: dict[PlannedJob, None] = {}
    waiting, seen = list(names), set(names)
    for name in waiting:  # grows while it is read
        job = makers.get(name)
        inputs = above(name) if job is None else job.inputs
        new = [other for other in dict.fromkeys(inputs) if other not in seen]
        waiting += new
        seen.update(new)
        found |= {job: None} if job is not None else {}
    return list(found)


def run_dry(targets: Sequence[str], *, arguments: Sequence[str]) -> str:
    """Return the output of a dry run of the workflow.

    Raises:
        MoclipError: It fails; the message has its last lines.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *arguments, *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        lines = [line.strip() for line in output.splitlines() if line.strip()] or ["?"]
        own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if own:
            raise MoclipError(own[0])
        first = next((i for i, line in enumerate(lines) if "rror" in line or "Exception" in line), len(lines) - 1)
        raise MoclipError(f"the dry run failed: {' '.join(lines[first : first + 2])}")
    return output


def explain_target(target: str, *, arguments: Sequence[str], folder: Path = Path()) -> str:
    """Return why a file is stale or fresh: which key, input or code, with old and new values.

    Raises:
        MoclipError: No rule makes the file, or the dry run fails.
    """
    jobs = parse_dry_run(run_dry([target], arguments=arguments))
    chain = trace([target], jobs=jobs)
    if chain:
        head = f"{target}: stale; the next run makes it with the rule {chain[0].rule}, because"
        return "\n".join([head, *_indent(explain_reason(chain[0].reason)), *_explain_jobs(chain[1:])])
    note = read_note(folder, target=target)
    if note is None:
        raise MoclipError(f"{target}: the engine has no note of it; name an output as `snakemake --summary` lists it")

    def inputs_of(name: str) -> Sequence[str]:
        found = read_note(folder, target=name)
        return found["input"] if found else ()

    # Jobs above a file that does not take part in the dry run: it waits for the content of their outputs.
    above = trace(note["input"], jobs=[replace(job, inputs=()) for job in jobs], above=inputs_of)
    if above:
        head = f"{target}: not decided yet; it is made again if the content of the files below changes"
        return "\n".join([head, *_explain_jobs(above)])
    when = datetime.fromtimestamp(note["endtime"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{target}: fresh; the rule {note['rule']} made it on {when}, and nothing that it depends on has changed"


def read_note(folder: Path, *, target: str) -> dict[str, Any] | None:
    """Return the engine's note about a file that it made, or None."""
    name = base64.urlsafe_b64encode(target.encode()).decode()
    parts = [name[start : start + _MAX_NAME] for start in range(0, len(name), _MAX_NAME)]
    path = folder.joinpath(".snakemake", "metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _explain_jobs(jobs: Sequence[PlannedJob]) -> list[str]:
    lines = []
    for job in jobs:
        lines.append(f"{job.outputs[0]}: made again by the rule {job.rule}, because")
        lines += _indent(explain_reason(job.reason))
    return lines
