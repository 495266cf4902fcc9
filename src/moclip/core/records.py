"""Records: the params, inputs and outputs of a finished job, stored next to its first output.

`workflow.check` compares records with the plan before a run. Readers compare a file with the digest in its record.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from moclip.core.digests import digest_file, seal, stat_version, unseal
from moclip.core.files import write_json
from moclip.errors import MoclipError

_FORMAT = 2


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
    write_json(record_path(outputs[0]), seal(note))


def read_record(outputs: Sequence[str]) -> dict[str, Any] | None:
    """Return the record of a job by its outputs, or None where there is none, or a damaged one."""
    return _read(record_path(outputs[0]))


def _read(record: Path) -> dict[str, Any] | None:
    try:
        note = unseal(json.loads(record.read_bytes()))
        return note if note["format"] == _FORMAT and isinstance(note["outputs"], dict) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _describe(path: Path) -> list[Any]:
    return [digest_file(path), *stat_version(path)]


def _find_records(path: Path) -> Iterator[tuple[Path, dict[str, Any], str]]:
    # Yields each record in the folder of a file that lists the file: its path, its content, and the listed name.
    for record in _list_candidates(path):
        note = _read(record)
        if note is None:
            continue
        # Names are relative to the folder that the workflow ran in, and a folder of results may have been moved.
        first = record.name.removeprefix(".").removesuffix(".made")
        folders = {Path(name).parent for name in note["outputs"] if Path(name).name == first}
        yield from ((record, note, name) for name in (str(f / path.name) for f in folders) if name in note["outputs"])


def _list_candidates(path: Path) -> list[Path]:
    direct = record_path(path)
    return [direct] if direct.is_file() else sorted(path.parent.glob(".*.made"))


def check_recorded(path: Path) -> Path:
    """Return the path of a result after comparing the file with the digest that its job recorded.

    Raises:
        MoclipError: The file is missing, was edited or is damaged, or has no record.
    """
    if not path.is_file():
        raise MoclipError(f"{path}: no such file; run the workflow, which makes it")
    for _, note, name in _find_records(path):
        expected, *version = note["outputs"][name]
        found = digest_file(path)
        if found == expected:
            return path
        raise MoclipError(
            f"{path}: edited or damaged: expected the SHA-256 {expected[:12]}..., recorded when it was made, found "
            f"{found[:12]}...; run the workflow again, which makes it again",
            # The next run finds a file with other times than the recorded ones anyway.
            damaged=path if version == stat_version(path) else None,
        )
    for record in _list_candidates(path):
        if _read(record) is None:
            raise MoclipError(
                f"{record}: edited or damaged: expected the digest of {path.name} in it; run the workflow again, which "
                "makes both again"
            )
    raise MoclipError(
        f"{path}: expected a record of its digest in {record_path(path).name}, or in that of its job, found none; "
        "run the workflow again, or copy results with their hidden files"
    )


def check_input(path: Path) -> None:
    """Check that the disk has not damaged an input of a job since the job above recorded its digest.

    A file with other times than the recorded ones is taken as it is: its record may reach this machine later. A missing
    file is left to the job.

    Raises:
        MoclipError: The bytes have changed since the job above, and the times have not: the disk damaged the file.
    """
    for _, note, name in _find_records(path) if path.is_file() else ():
        expected, *version = note["outputs"][name]
        if version == stat_version(path) and expected != digest_file(path):
            raise MoclipError(f"{path}: damaged since it was made; run again, which makes it again", damaged=path)


def forget(path: Path) -> None:
    """Remove the record of a result, so that the next run makes the result again; a file without one is no error."""
    with suppress(OSError):
        for record, _, _ in list(_find_records(path)):
            record.unlink()


def renew(path: Path) -> None:
    """Update the record of a result that was made again outside of its job."""
    for record, note, name in list(_find_records(path)):
        note["outputs"][name] = _describe(path)
        write_json(record, seal(note))
