"""Checks and fingerprints of the encoder of an appearance variant, without importing a heavy package."""

import json
import os
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.core.digests import digest_file
from moclip.core.files import locate
from moclip.errors import ModelError

if TYPE_CHECKING:  # parsing settings costs more than the rest of a job that reads its result from the cache
    from moclip.config.settings import AppearanceVariant

LOCAL_DIR = "local-dir:"

CONFIG_NAME = "open_clip_config.json"

# In the order in which open_clip 3.3.0 prefers them, so that the file that is fingerprinted is the file that is loaded.
_LOCAL_DIR_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)

# What a config says of the pictures that a model expects.
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")

# Files that the tokenizers of Hugging Face are read from.
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model")

_BARE_NAME = re.compile(r"[A-Za-z0-9_.]+")

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def check_encoder(variant: "AppearanceVariant") -> None:
    """Check that a variant names its weights exactly once, and that local files are there.

    Raises:
        ModelError: Weights are given twice, not at all, are missing or of another kind; or the device cannot do it.
    """
    if variant.model.startswith(LOCAL_DIR):
        _check_local_dir(variant)
    elif variant.untrained and variant.weights:
        raise ModelError(
            f"{variant.model}: `untrained: true` and `weights: {variant.weights}` exclude each other; drop one"
        )
    elif not variant.weights and not variant.untrained:
        raise ModelError(
            f"{variant.model}: expected `weights` (a pretrained tag or a file), found none; "
            "say `untrained: true` if random weights are what you mean"
        )
    elif variant.weights and _looks_like_file(variant.weights):
        _check_file(variant)
    if variant.preprocess and (variant.model.startswith(LOCAL_DIR) or local_weights(variant) is None):
        raise ModelError(
            f"{variant.model}: `preprocess: {variant.preprocess}` is for weights in a file, and a tag or a local "
            "folder has its own; drop it"
        )
    if variant.precision == "fp16" and variant.device == "cpu":
        raise ModelError(f"{variant.model}: fp16 needs a GPU, found `device: cpu`; set `precision: fp32`")
    if variant.backend == "openvino" and variant.device != "cpu":
        raise ModelError(
            f"{variant.model}: `backend: openvino` needs `device: cpu`, found `{variant.device}`; correct one"
        )


def _check_local_dir(variant: "AppearanceVariant") -> None:
    folder, found = _folder(variant), local_weights(variant)
    if variant.weights:
        raise ModelError(f"{variant.model}: a local folder brings its own weights; drop `weights: {variant.weights}`")
    if not (folder / CONFIG_NAME).is_file():
        raise ModelError(f"{folder}: expected a folder with {CONFIG_NAME}, the `model` of an appearance variant")
    if variant.untrained and found:
        raise ModelError(f"{folder}: `untrained: true`, but the folder holds {found.name}; drop one of the two")
    _check_config(folder / CONFIG_NAME)
    if not variant.untrained and found is None:
        names = ", ".join(_LOCAL_DIR_WEIGHTS)
        raise ModelError(f"{folder}: expected one of {names}, found none; or say `untrained: true`")


def _check_config(path: Path) -> None:
    # A folder may come from a stranger: its config must not name code to run, nor a model to fetch from a hub.
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = list(_entries(document))
        if not isinstance(document["model_cfg"], dict):
            raise TypeError("`model_cfg` is no mapping")
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: expected the config of an open_clip model ({error}); copy it again") from None
    for key, value in entries:
        if key == "trust_remote_code" and value:
            raise ModelError(f"{path}: it asks for code from a hub to be run (`{key}`); take another model")
        if key == "timm_model_name" and not _BARE_NAME.fullmatch(str(value)):
            raise ModelError(
                f"{path}: expected the name of a timm model, found {str(value)[:80]!a}; take another model"
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _entries(below)


def _check_file(variant: "AppearanceVariant") -> None:
    path = Path(variant.weights)
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint file, the `weights` of {variant.model}")
    if path.suffix not in _SUFFIXES:
        raise ModelError(
            f"{path}: expected a checkpoint named {', '.join(_SUFFIXES)}, the `weights` of {variant.model}"
        )


# Files that are not the weights they are named after, by their first bytes.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"<!doctype html", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
)
_HEAD_BYTES = 512
# The record that ends a ZIP archive starts within so many bytes from its end.
_TAIL_BYTES = 22 + 65_535


def _ends_archive(tail: bytes) -> bool:
    # The record names the length of the comment after it, which is the rest of the file.
    _, mark, record = tail.rpartition(b"PK\x05\x06")
    return bool(mark) and len(record) >= 18 and len(record) == 18 + int.from_bytes(record[16:18], "little")


def check_weights_file(path: Path) -> None:
    """Check that a file of weights is whole, by its size and its first bytes.

    Raises:
        ModelError: The file is missing, cut short, or another kind of file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(_HEAD_BYTES)
            header = file.read(min(size, int.from_bytes(start[:8], "little"))) if path.suffix == ".safetensors" else b""
            file.seek(max(0, size - _TAIL_BYTES))
            is_zip = start.startswith(b"PK") and _ends_archive(file.read())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file of weights; correct the path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read these weights: {error.strerror}; see its permissions") from None
    text = start.lstrip().lower()
    found = next((words for mark, words in _OTHERS if text.startswith(mark)), "an empty file" if not start else "")
    if not found and path.suffix == ".safetensors":
        found = _find_damage(start + header, size=size)
    elif not found and not (start.startswith(b"\x80") or is_zip):
        found = "a cut or other file; copy it again"
    if found:
        raise ModelError(f"{path}: expected the weights of a model, found {found}")


def _find_damage(content: bytes, *, size: int) -> str:
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except (ValueError, LookupError, TypeError, AttributeError):
        return "no safetensors header; copy it again"
    expected = 8 + length + int(end)
    return f"{size:,} of {expected:,} bytes; copy it again" if size < expected else ""


def _looks_like_file(weights: str) -> bool:
    return "/" in weights or Path(weights).suffix in _SUFFIXES


def _folder(variant: "AppearanceVariant") -> Path:
    return Path(variant.model.removeprefix(LOCAL_DIR))


def locate_encoder(variant: "AppearanceVariant", *, home: Path) -> "AppearanceVariant":
    """Return a variant whose files are found below `home` if the working directory lacks them."""
    folder = variant.model.removeprefix(LOCAL_DIR)
    model = f"{LOCAL_DIR}{locate(folder, home=home)}" if folder != variant.model else variant.model
    return variant.model_copy(update={"model": model, "weights": locate(variant.weights, home=home)})


def local_weights(variant: "AppearanceVariant") -> Path | None:
    """Return the file of weights on this machine, or None where they come from a hub or are random."""
    if variant.model.startswith(LOCAL_DIR):
        return next((path for name in _LOCAL_DIR_WEIGHTS if (path := _folder(variant) / name).is_file()), None)
    return Path(variant.weights) if variant.weights and _looks_like_file(variant.weights) else None


def weights_fingerprint(variant: "AppearanceVariant", *, digest: Callable[[Path], str] | None = None) -> str:
    """Return a text that differs between two encoders: digests of their files, or the name of the model and its tag.

    The content of a local file counts, not its path. A folder counts with the weights that open_clip loads and with its
    config as parsed; its name, other files and the layout of the config do not count. `digest` gives the digest of a
    file's bytes, for a caller that remembers them.

    Raises:
        ModelError: As `check_encoder`.
    """
    check_encoder(variant)
    digest = digest or digest_file
    model = _config_digest(variant) if variant.model.startswith(LOCAL_DIR) else variant.model
    if variant.untrained:
        return f"{model}|untrained"
    path = local_weights(variant)
    if path is None:
        return f"{model}|tag {variant.weights}"
    preprocess = {} if variant.model.startswith(LOCAL_DIR) else read_preprocess(path)
    return "|".join([model, digest(path), *([json.dumps(preprocess, sort_keys=True)] if preprocess else [])])


def read_preprocess(weights: Path) -> dict[str, Any]:
    """Return `preprocess_cfg` of the open_clip_config.json in the folder of a file of weights; empty without one.

    Raises:
        ModelError: The config cannot be read.
    """
    path = weights.with_name(CONFIG_NAME)
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("preprocess_cfg", {})
        return {key: found[key] for key in PREPROCESS_KEYS if key in found}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: expected the config of an open_clip model ({error}); copy it again") from None


def tokenizer_fingerprint(variant: "AppearanceVariant") -> list[tuple[str, str]]:
    """Return name and digest of each file of a local folder that open_clip makes a tokenizer from.

    Most models need none. A `hf_tokenizer_name` in the config of a folder stands for the files in that folder.

    Raises:
        ModelError: As `check_encoder`.
    """
    check_encoder(variant)
    if not variant.model.startswith(LOCAL_DIR):
        return []
    text = _read_config(variant)["model_cfg"].get("text_cfg")
    if not (isinstance(text, dict) and text.get("hf_tokenizer_name")):
        return []
    files = {path for pattern in _TOKENIZER_FILES for path in _folder(variant).glob(pattern) if path.is_file()}
    return [(path.name, digest_file(path)) for path in sorted(files)]


def _config_digest(variant: "AppearanceVariant") -> str:
    canonical = json.dumps(_read_config(variant), sort_keys=True)
    return sha256(canonical.encode()).hexdigest()[:32]


def _read_config(variant: "AppearanceVariant") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_folder(variant) / CONFIG_NAME).read_text(encoding="utf-8"))
    return document
