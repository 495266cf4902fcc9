"""What a dry run of the workflow says of its jobs, and in which words it is told to a user. Pure."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
_KEY = re.compile(r"^    (\w+): (.*)$")
_PARAMS = re.compile(r"before: (.*?) now: (.*?)(?=before: |$)")
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_FILES = re.compile(r"(Missing output files|Updated input files|Input files updated by another job): ([^;]*)")
_NOTHING = "<nothing exclusive>"
# What the digests that rules carry as params stand for.
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
    """Return the jobs that a dry run lists, in its order; `all` aside."""
    jobs: list[PlannedJob] = []
    for rule, block in _blocks(text):
        if rule != "all":
            inputs, outputs = (_files(block.get(key, "")) for key in ("input", "output"))
            jobs.append(PlannedJob(rule=rule, inputs=inputs, outputs=outputs, reason=block.get("reason", "")))
    return tuple(jobs)


def _files(listed: str) -> tuple[str, ...]:
    return tuple(listed.split(", ")) if listed else ()


def _blocks(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    rule, block = "", dict[str, str]()
    for line in text.splitlines():
        if found := _JOB.match(line):
            if rule:
                yield rule, block
            rule, block = found[1], {}
        elif found := _KEY.match(line):
            block.setdefault(found[1], found[2])
    if rule:
        yield rule, block


def explain_reason(reason: str) -> list[str]:
    """Return the reason of a job in words, a line for each change: which key, old and new value."""
    lines = []
    for kind, files in _FILES.findall(reason):
        word = {"Missing output files": "missing", "Updated input files": "changed on disk"}.get(kind, "made anew")
        lines += [f"{word}: {name}" for name in files.strip().split(", ")]
    if "Params have changed" in reason:
        for before, now in _PARAMS.findall(reason.split("Params have changed", 1)[1]):
            lines += explain_params(_texts(before), _texts(now))
    others = {
        "Set of input files has changed": "the list of its input files is another",
        "Incomplete output files": "a run was stopped while it was written",
        "Software environment definition has changed": "environment.yml changed",
        "Code has changed": "its script changed",
        "Forced execution": "it was asked for with --force",
    }
    return lines + [words for mark, words in others.items() if mark in reason]


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


def trace_target(target: str, *, jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """Return the jobs that make a target stale, the one that makes it first, then those that make its inputs."""
    makers = {name: job for job in jobs for name in job.outputs}
    chain: list[PlannedJob] = []
    waiting = [target]
    while waiting:
        job = makers.get(waiting.pop(0))
        if job is not None and job not in chain:
            chain.append(job)
            waiting.extend(job.inputs)
    return chain
