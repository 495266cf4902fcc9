"""The index of a batch of heads: a digest of each run's heads, which is what later stages depend on."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from moclip.errors import ModelError
from moclip.files import replace_atomically


def write_digests(index: Path, *, digests: Mapping[str, str]) -> None:
    """Write the digest of each run's heads, by `digest_name`."""
    with replace_atomically(index) as temporary:
        temporary.write_text(json.dumps({"heads": dict(digests)}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_digests(index: Path) -> dict[str, str]:
    """Return the digest of each run's heads as `write_digests` noted them.

    Raises:
        ModelError: The file is missing or no such index.
    """
    try:
        digests: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["heads"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{index}: expected an index of heads ({error}); delete it and run again") from None
    return digests


def digest_name(head: Path) -> str:
    """Return the name of a run, whose heads lie at `.../{experiment}/split-{split}/seed-{seed}/`, in an index.

    >>> digest_name(Path("results/demo/experiments/fusion/split-1/seed-0/head.safetensors"))
    'fusion/split-1/seed-0'
    """
    return "/".join(head.parts[-4:-1])


def file_digest(path: Path) -> str:
    """Return 32 hex digits over the bytes of a file."""
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()
