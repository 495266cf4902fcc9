"""Content of the small files that a configuration names: weights and encoder folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moclip.core.digests import FileDigests
from moclip.encoders.spec import build_encoder_spec, tokenizer_fingerprint, weights_fingerprint
from moclip.errors import MoclipError


class Contents:
    """Texts that stand for the content of files: the same wherever the files are, and whatever their times."""

    def __init__(self, cache_dir: str | Path) -> None:
        """Take the folder of the cache, where digests are remembered."""
        self._digest = FileDigests(cache_dir)

    def weights(self, weights: str) -> str:
        """Return the digest of a file of weights, or the text itself if it is a tag or `none`."""
        try:
            return self._digest(weights) if Path(weights).is_file() else weights
        except OSError as error:
            return f"unreadable: {error.strerror}"

    def encoder(self, variant: Mapping[str, Any]) -> str:
        """Return a text that differs between the encoders of two appearance variants.

        A missing or invalid file gives its message: the job that loads the encoder reports it.
        """
        try:
            return weights_fingerprint(build_encoder_spec(variant), digest=self._digest)
        except (MoclipError, OSError) as error:
            return f"invalid: {error}"

    def tokenizer(self, variant: Mapping[str, Any]) -> str:
        """Return a text that differs between the tokenizers of two appearance variants."""
        try:
            return str(tokenizer_fingerprint(build_encoder_spec(variant)))
        except (MoclipError, OSError) as error:
            return f"invalid: {error}"
