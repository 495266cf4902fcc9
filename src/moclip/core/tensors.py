"""Safetensors files with a note in JSON, in which a digest covers all tensors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from moclip.core.files import replace_atomically
from moclip.errors import ConfigError, ModelError

Arrays = Mapping[str, NDArray[Any]]

# The key of the digest in a note.
DIGEST_KEY = "tensors"

# A single metadata key: safetensors writes several in the order of a hash table, so bytes would differ between runs.
_NOTE = "moclip"

# Errors of a file that is missing, damaged or of another kind, and of code that makes sense of its content.
_UNREADABLE = (
    *(OSError, SafetensorError, LookupError, ValueError, TypeError, AttributeError, RuntimeError),
    ConfigError,
)


def digest_tensors(tensors: Arrays) -> str:
    """Return 32 hex digits over the names, types, shapes and bytes of some arrays, in any order.

    >>> digest_tensors({"bias": np.zeros(2, np.float32)})
    '67d642cf9e9bcafd8ee831551546994d'
    """
    digest = blake2b(digest_size=16)
    for name, value in sorted(tensors.items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name}\0{array.dtype.str}\0{value.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_tensors(tensors: Arrays, *, about: Mapping[str, Any]) -> None:
    """Check arrays against the digest in their note.

    Raises:
        ValueError: They differ.
    """
    if about[DIGEST_KEY] != digest_tensors(tensors):
        raise ValueError("its weights are not those that were written")


def pack_tensors(tensors: Arrays, *, note: Mapping[str, Any]) -> bytes:
    """Return a safetensors file as bytes; equal arrays and notes give equal bytes."""
    metadata = {_NOTE: json.dumps({DIGEST_KEY: digest_tensors(tensors), **note}, sort_keys=True)}
    packed: bytes = save({name: np.asarray(value, order="C") for name, value in tensors.items()}, metadata=metadata)
    return packed


def write_tensors(path: Path, tensors: Arrays, *, note: Mapping[str, Any]) -> None:
    """Write arrays, and a note that must be JSON, to a safetensors file."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(pack_tensors(tensors, note=note))


def unpack_tensors(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the note of `pack_tensors`."""
    return load(content), json.loads(_read_header(content)["__metadata__"][_NOTE])


def read_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the note of a file, the arrays checked against their digest.

    Call it inside `expect_tensors`, which explains the many errors of a damaged file.
    """
    tensors, note = read_arrays(path), read_note(path)
    check_tensors(tensors, about=note)
    return tensors, note


def read_arrays(path: Path, *, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return the arrays of a file whose names start with a prefix, by the rest of their names, unchecked."""
    with safe_open(str(path), framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a mapping)
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def read_note(path: Path) -> dict[str, Any]:
    """Return the note of a file, without its tensors; call it inside `expect_tensors`."""
    with safe_open(str(path), framework="numpy") as file:
        note: dict[str, Any] = json.loads((file.metadata() or {})[_NOTE])
    return note


@contextmanager
def expect_tensors(path: Path, what: str) -> Iterator[None]:
    """Raise ModelError, naming the file and what was expected in it, if the block cannot read it."""
    try:
        yield
    except _UNREADABLE as error:
        text = " ".join(str(error).split())
        raise ModelError(f"{path}: expected {what} ({text}); run again", damaged=path) from None


def count_values(path: Path) -> int:
    """Return the number of values in all tensors of a safetensors file."""
    with safe_open(str(path), framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (not a mapping)
    return sum(int(np.prod(shape)) for shape in shapes)


def replace_note(content: bytes, *, changes: Mapping[str, Any]) -> bytes:
    """Return a safetensors file, as bytes, in which some entries of its note have other values.

    The tensors and their digest are kept. If the note holds these values already, the bytes are returned unchanged.

    Raises:
        ValueError: The bytes are no safetensors file with such a note.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        header = _read_header(content)
        note = json.loads(header["__metadata__"][_NOTE])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no note of moclip ({error})") from None
    if {**note, **changes} == note:
        return content
    header["__metadata__"][_NOTE] = json.dumps({**note, **changes}, sort_keys=True)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _read_header(content: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header
