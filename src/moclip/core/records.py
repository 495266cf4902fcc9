"""Records: the params, inputs and outputs of a finished job, stored next to its first output.

`workflow.check` compares records with the plan before a run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moclip.core.digests import digest_file, stat_version
from moclip.core.files import write_json

_FORMAT = 1


def record_path(output: str | Path) -> Path:
    """Return the record of a job, which is stored next to its first output."""
    path = Path(output)
    return path.with_name(f".{path.name}.made")


def write_record(
    outputs: Sequence[str],
    *,
    rule: str,
    params: Mapping[str, str],
    reads: Sequence[str] = (),
    seconds: float | None = None,
) -> None:
    """Write the record of a job that has just succeeded, with the digests of its outputs and of the inputs `reads`.

    `seconds` is the processor time of the job.
    """
    note = {
        "format": _FORMAT,
        "rule": rule,
        "params": dict(params),
        "inputs": {file: digest_file(Path(file)) for file in reads},
        "outputs": {output: _describe(Path(output)) for output in outputs},
        "processor_seconds": seconds,
    }
    store_record(outputs, note)


def store_record(outputs: Sequence[str], note: Mapping[str, Any]) -> None:
    """Write a record as `read_record` returned it, with changes."""
    write_json(record_path(outputs[0]), note)


def read_record(outputs: Sequence[str]) -> dict[str, Any] | None:
    """Return the record of a job by its outputs, or None where there is none that can be read."""
    try:
        note = json.loads(record_path(outputs[0]).read_bytes())
        return note if note["format"] == _FORMAT and isinstance(note["outputs"], dict) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _describe(path: Path) -> list[Any]:
    return [digest_file(path), *stat_version(path)]
