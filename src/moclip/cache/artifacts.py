"""Cache whole artifacts by the content they were made from: networks, heads, class embeddings and scores.

An entry is the folder `<cache>/<kind>/<key>/`, with the files and `artifact.json`, which has their digests. An entry
appears whole or not at all. Outputs are copies and never links: an edit of a result leaves the cache as it is.
"""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from moclip.cache.locks import writer_lock
from moclip.core.cache_folder import claim_folder, make_folder, read_folders
from moclip.core.files import replace_atomically

_log = logging.getLogger(__name__)

Kind = Literal["networks", "class_embeddings", "predictions"]

KINDS: tuple[Kind, ...] = ("networks", "class_embeddings", "predictions")

# A head is one file, which `training.head_stage` reads and writes.
HEADS = "heads"

_NOTE = "artifact.json"

_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One entry of the store, a folder, or a trained head, a file.

    Attributes:
        kind: One of `KINDS`, or `HEADS`.
        key: The digest of all that it was made from.
        path: The folder or file.
    """

    kind: str
    key: str
    path: Path


@contextmanager
def artifact_lock(cache_dir: Path, *, kind: Kind, key: str) -> Iterator[None]:
    """Hold the right to make an artifact, so that two jobs that need it make it once; readers need no lock."""
    with writer_lock(claim_folder(cache_dir, kind), name=key):
        yield


def read_artifact(cache_dir: Path, *, kind: Kind, key: str) -> dict[str, bytes] | None:
    """Return the files of an artifact by name, or None if the store has none or a damaged one, which it drops."""
    for folder in read_folders(cache_dir, kind, key):
        try:
            return _read_files(folder)
        except PermissionError:
            _log.warning("%s: permission denied; it is made again, or ask its owner to let you read it", folder)
        except _DAMAGE as error:
            _log.warning("%s: a damaged entry of the cache (%s); it is made again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    return None


def _read_files(folder: Path) -> dict[str, bytes]:
    note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    found = {name: (folder / name).read_bytes() for name in note["files"]}
    if (note["kind"], note["key"]) != (folder.parent.name, folder.name):
        raise ValueError(f"`{_NOTE}` is that of another entry")
    for name, content in found.items():
        if _digest(content) != note["files"][name]:
            raise ValueError(f"`{name}` does not match its digest")
    return found


def find_damage(artifact: Artifact) -> str:
    """Return what is wrong with an artifact that is a folder, or ""."""
    try:
        _read_files(artifact.path)
    except _DAMAGE as error:
        return str(error)
    return ""


def write_files(contents: Mapping[str, bytes], *, outputs: Mapping[str, Path]) -> None:
    """Write the contents of the same name to each output; outputs appear once all of them are written.

    Raises:
        OSError: An output cannot be written.
    """
    with ExitStack() as written:
        for name, output in outputs.items():
            written.enter_context(replace_atomically(output)).write_bytes(contents[name])


def keep(cache_dir: Path, *, kind: Kind, key: str, files: Mapping[str, bytes]) -> None:
    """Add an artifact to the store; an entry that is there already stays, since equal keys mean equal content.

    Raises:
        OSError: The store cannot be written, such as on a full disk.
    """
    folder = claim_folder(cache_dir, kind) / key
    temporary = folder.with_name(f".{key}.{uuid.uuid4().hex[:12]}.tmp")
    note = {"kind": kind, "key": key, "files": {name: _digest(content) for name, content in files.items()}}
    try:
        make_folder(temporary)
        for name, content in {**files, _NOTE: json.dumps(note, indent=1, sort_keys=True).encode()}.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def list_artifacts(cache_dir: Path) -> list[Artifact]:
    """Return every artifact of a cache, trained heads included, by kind and key."""
    kinds = [(kind, top) for kind in (*KINDS, HEADS) for top in read_folders(cache_dir, kind)]
    return [
        Artifact(kind=kind, key=path.name.partition(".")[0], path=path)
        for kind, top in kinds
        for path in sorted(top.glob("[!.]*"))
        if path.is_dir() or path.suffix == ".safetensors"
    ]


def remove_artifact(path: Path) -> None:
    """Remove an artifact at once; a job that reads it meanwhile finds a damaged entry, and makes it again."""
    trash = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    path.rename(trash)
    if trash.is_dir():
        shutil.rmtree(trash)
    else:
        trash.unlink()


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
