"""Note which outputs were made from which artifacts, so that unused artifacts can be removed.

A job that takes or makes an artifact leaves two small files: one in `<cache>/uses/`, named after its output, and one
next to the output (`.<name>.uses`). An artifact is in use if one of the outputs of the given configurations was last
made from it. The first file finds the artifacts of deleted results, the second those of a project that was copied or
moved. Removing too much costs computation and nothing else.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from moclip.cache.artifacts import Artifact, list_artifacts
from moclip.core.cache_folder import claim_folder
from moclip.core.files import write_json


@dataclass(frozen=True, kw_only=True)
class ArtifactUse:
    """One artifact, and the outputs of the given configurations that were made from it, sorted."""

    artifact: Artifact
    used_by: tuple[str, ...]


def note_use(cache_dir: Path, *, output: Path, kind: str, keys: Sequence[str]) -> None:
    """Note the artifacts that an output was made from, in place of the ones noted before.

    Raises:
        OSError: The cache cannot be written, such as on a full disk.
    """
    place = str(output.resolve())
    name = blake2b(place.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    document = {"output": place, "kind": kind, "keys": sorted(keys)}
    for path in (claim_folder(cache_dir, "uses") / f"{name}.json", _note_next_to(output)):
        write_json(path, document)


def _note_next_to(output: Path) -> Path:
    return output.with_name(f".{output.name}.uses")


def list_artifact_uses(cache_dir: Path, *, outputs: Iterable[Path]) -> list[ArtifactUse]:
    """Return every artifact of a cache with those of some outputs that use it; unused artifacts come last."""
    wanted = {str(output.resolve()): str(output) for output in outputs}
    users: dict[tuple[str, str], set[str]] = {}
    for path in sorted((cache_dir / "uses").glob("[!.]*.json")):
        output, kind, keys = _read_use(path)
        for key in keys if output in wanted else ():
            users.setdefault((kind, key), set()).add(wanted[output])
    for output in wanted.values():
        _, kind, keys = _read_use(_note_next_to(Path(output)))
        for key in keys:
            users.setdefault((kind, key), set()).add(output)
    found = [
        ArtifactUse(artifact=artifact, used_by=tuple(sorted(users.get((artifact.kind, artifact.key), ()))))
        for artifact in list_artifacts(cache_dir)
    ]
    return sorted(found, key=lambda use: (not use.used_by, use.artifact.kind, use.artifact.key))


def _read_use(path: Path) -> tuple[str, str, Collection[str]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return document["output"], document["kind"], document["keys"]
    except (OSError, ValueError, LookupError, TypeError):  # its artifact counts as unused, and is made again
        return "", "", ()
