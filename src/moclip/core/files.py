"""Write files atomically, and read and write tables and JSON."""

import csv
import json
import math
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from moclip.errors import ConfigError


@contextmanager
def replace_atomically(path: Path, *, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a unique hidden name next to `path`; when the block ends well, flush that file to the disk and rename it.

    The file gets the mode that the umask gives to any new file, whatever its writer does: safetensors writes files that
    only their owner can read. `suffix` ends the name, for a writer that goes by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{suffix}")
    try:
        mode = _new_file_mode(temporary)
        yield temporary
        with temporary.open("rb") as written:
            if os.fstat(written.fileno()).st_mode != mode:
                os.fchmod(written.fileno(), stat.S_IMODE(mode))
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file_mode(path: Path) -> int:
    # The umask can only be read by setting it, for all threads of the process.
    path.touch(exist_ok=False)
    mode = path.stat().st_mode
    path.unlink()
    return mode


def locate(path: str, *, home: Path) -> str:
    """Return a path that exists only below `home` as a path from there, and every other one as it is."""
    return str(home / path) if not Path(path).exists() and (home / path).exists() else path


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file that contains a mapping.

    Raises:
        ConfigError: It is missing, something else, or has a key twice, of which YAML would drop the first.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # Tabs are white space in JSON, and in YAML they are not.
        loader = _LOADER(text.replace("\t", " ") if path.suffix == ".json" else text)
        node = loader.get_single_node()
        repeated = list(_list_repeated(node))  # before aliases are merged into the mappings that name them
        document = loader.construct_document(node) if node is not None else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path}: expected a YAML or JSON file ({' '.join(str(error).split())}); correct it"
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(document).__name__}; correct it")
    if repeated:
        raise ConfigError("\n".join(f"{path}: {words}; rename or remove one: the first is lost" for words in repeated))
    return document


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _list_repeated(node: yaml.Node | None) -> Iterator[str]:
    # Aliases lead to one node several times.
    waiting, seen = [node], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in seen or not isinstance(current, yaml.CollectionNode):
            continue
        seen.add(id(current))
        lines: dict[str, int] = {}
        for key, _ in current.value if isinstance(current, yaml.MappingNode) else ():
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                yield f"the key `{key.value}` is in line {lines[key.value]} and again in line {line}"
            elif isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
        values = current.value if isinstance(current, yaml.SequenceNode) else [value for _, value in current.value]
        waiting += reversed(values)


def write_json(path: Path, document: Any) -> None:
    """Write a document as JSON with sorted keys, atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_tsv(
    path: Path, *, header: Sequence[str], rows: Iterable[Sequence[object]], num_digits: int | None = None
) -> None:
    """Write a tab-separated table, atomically; None and nan are empty cells, floats are rounded to `num_digits`."""
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow(header)
        table.writerows([_format_cell(cell, num_digits=num_digits) for cell in row] for row in rows)


def _format_cell(cell: object, *, num_digits: int | None) -> object:
    if not isinstance(cell, float):
        return cell
    if math.isnan(cell):
        return None
    return cell if num_digits is None else round(cell, num_digits)


def read_tsv(path: Path, *, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a tab-separated table with a header, as text by column.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such table, or lacks one of `columns`.
    """
    with path.open(encoding="utf-8", newline="") as file:
        try:
            table = csv.DictReader(file, dialect="excel-tab")
            lost = sorted(set(columns) - set(table.fieldnames or ()))
            rows = list(table)
        except csv.Error as error:
            raise ValueError(str(error)) from None
    if lost:
        raise ValueError(f"it has no column `{lost[0]}`")
    return rows
