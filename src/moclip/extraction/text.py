"""The text stage: embeddings of every class from its prompts."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moclip.cache.artifacts import artifact_lock, keep, read_artifact, write_files
from moclip.cache.uses import note_use
from moclip.core.digests import build_digest
from moclip.core.files import read_yaml
from moclip.core.tensors import digest_tensors, expect_tensors, pack_tensors, read_tensors, unpack_tensors
from moclip.dataset.manifest_table import list_class_names, read_table
from moclip.encoders.prompts import build_class_prompts, phrases_from_class_names
from moclip.encoders.spec import tokenizer_fingerprint, weights_fingerprint
from moclip.errors import ConfigError
from moclip.versions import TEXT_VERSION

if TYPE_CHECKING:  # a test reads class embeddings without parsing settings
    from moclip.config.settings import AppearanceVariant, TextVariant

_log = logging.getLogger(__name__)

_NAME = "embeddings.safetensors"


@dataclass(frozen=True, kw_only=True)
class ClassEmbeddings:
    """Unit embeddings of the classes, float32 (K, D), in the order of their indices; `state` is `trained` or a mark."""

    embeddings: NDArray[np.float32]
    class_names: tuple[str, ...]
    state: str


def write_class_embeddings(
    output: Path, *, manifest: Path, variant: "TextVariant", appearance: "AppearanceVariant", cache_dir: Path
) -> None:
    """Embed the prompts of every class of the manifest with the encoder of an appearance variant.

    Embeddings of equal prompts by an equal encoder are taken from the cache, for any class names and layout of files.

    Raises:
        ConfigError: A prompt file is missing or of another form, or a class has no phrase.
    """
    prompts = _read_prompts(manifest, variant=variant)
    key = _identity(appearance, sentences=list(prompts.values()))
    with artifact_lock(cache_dir, kind="class_embeddings", key=key):
        found = read_artifact(cache_dir, kind="class_embeddings", key=key)
        if found is None:
            found = {_NAME: pack_tensors({"embeddings": _embed(appearance, prompts=prompts)}, note={})}
            keep(cache_dir, kind="class_embeddings", key=key, files=found)
            _log.info("class embeddings computed")
        else:
            _log.info("class embeddings taken from the cache")
    write_files({_NAME: _pack(found[_NAME], prompts=prompts, appearance=appearance)}, outputs={_NAME: output})
    note_use(cache_dir, output=output, kind="class_embeddings", keys=[key])


def find_class_embeddings(
    manifest: Path, *, variant: "TextVariant", appearance: "AppearanceVariant", cache_dir: Path
) -> bytes | None:
    """Return the file that `write_class_embeddings` would write from the cache, or None if it would embed prompts."""
    prompts = _read_prompts(manifest, variant=variant)
    key = _identity(appearance, sentences=list(prompts.values()))
    found = read_artifact(cache_dir, kind="class_embeddings", key=key)
    return None if found is None else _pack(found[_NAME], prompts=prompts, appearance=appearance)


def _read_prompts(manifest: Path, *, variant: "TextVariant") -> Mapping[str, Sequence[str]]:
    class_names = list_class_names(read_table(manifest))
    named = variant.phrases == "from_class_names"
    phrases = phrases_from_class_names(class_names) if named else read_yaml(Path(variant.phrases))
    return build_class_prompts(class_names, templates=_read_templates(Path(variant.templates)), phrases=phrases)


def _pack(stored: bytes, *, prompts: Mapping[str, Sequence[str]], appearance: "AppearanceVariant") -> bytes:
    about = {
        "class_names": list(prompts),
        "prompts": {name: list(sentences) for name, sentences in prompts.items()},
        "state": "untrained" if appearance.untrained else "trained",
        "version": TEXT_VERSION,
    }
    return pack_tensors({"embeddings": unpack_tensors(stored)[0]["embeddings"]}, note=about)


def _identity(variant: "AppearanceVariant", *, sentences: Sequence[Sequence[str]]) -> str:
    """Return the digest of all that class embeddings depend on: encoder, and prompts in the order of classes."""
    encoder = [weights_fingerprint(variant), variant.device, variant.precision, variant.backend, variant.threads]
    tokenizer = tokenizer_fingerprint(variant)
    names = ("open_clip_torch", "torch", *(["transformers"] if tokenizer else []))
    return build_digest(TEXT_VERSION, encoder, tokenizer, sentences, [_version_of(name) for name in names])


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it is missed, by name, once a tokenizer asks for it
        return ""


def _embed(variant: "AppearanceVariant", *, prompts: Mapping[str, Sequence[str]]) -> NDArray[np.float32]:
    from moclip.encoders.clip import build_class_embeddings, load_encoder  # noqa: PLC0415 (seconds to import)

    return build_class_embeddings(load_encoder(variant), prompts)


def read_class_embeddings(path: Path) -> ClassEmbeddings:
    """Return what `write_class_embeddings` wrote.

    Raises:
        ModelError: The file is missing, damaged or no such file.
    """
    with expect_tensors(path, "class embeddings"):
        tensors, about = read_tensors(path)
        embeddings = np.asarray(tensors["embeddings"], np.float32)
        class_names = tuple(map(str, about["class_names"]))
        if embeddings.ndim != 2 or len(embeddings) != len(class_names):
            raise ValueError(f"expected one row for each of {len(class_names)} classes, found {embeddings.shape}")
        return ClassEmbeddings(embeddings=embeddings, class_names=class_names, state=str(about["state"]))


def digest_class_embeddings(path: Path) -> str:
    """Return the digest of class embeddings, in which class names and prompts do not count.

    Raises:
        ModelError: As `read_class_embeddings`.
    """
    return digest_tensors({"embeddings": read_class_embeddings(path).embeddings})


def _read_templates(path: Path) -> list[str]:
    document = read_yaml(path)
    if not isinstance(document.get("templates"), list):
        raise ConfigError(f"{path}: expected the key `templates`, a list of sentences with one `{{}}` each; add it")
    templates: list[str] = document["templates"]
    return templates
