"""Digest named arrays, and check them when they are read back."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The key of the digest among what a file of weights says of itself.
DIGEST_KEY = "tensors"


def digest_tensors(tensors: Mapping[str, NDArray[Any]]) -> str:
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


def replace_note(content: bytes, *, changes: Mapping[str, Any]) -> bytes:
    """Return a safetensors file, as bytes, in which some entries of its `moclip` note have other values.

    The tensors stay as they are, and their digest with them; a file whose note holds these values already, too.

    Raises:
        ValueError: The bytes are no safetensors file with such a note.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        note = json.loads(header["__metadata__"]["moclip"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no note of moclip ({error})") from None
    if {**note, **changes} == note:
        return content
    header["__metadata__"]["moclip"] = json.dumps({**note, **changes}, sort_keys=True)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def check_tensors(tensors: Mapping[str, NDArray[Any]], *, about: Mapping[str, Any]) -> None:
    """Do nothing where the arrays are those that `about` has the digest of.

    Raises:
        ValueError: They are others; or, in a file from before there was a digest, hold a number that is not finite.
    """
    if DIGEST_KEY in about:
        if about[DIGEST_KEY] != digest_tensors(tensors):
            raise ValueError("its weights are not those that were written")
        return
    for name, value in tensors.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ValueError(f"`{name}` holds numbers that are not finite")
