"""What the configuration says of an image and text encoder, checked without importing a heavy package."""

from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Literal

from moclip.errors import ModelError

LOCAL_DIR = "local-dir:"
_WEIGHT_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_pytorch_model.safetensors")


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """An open_clip model and its weights.

    `model` is an open_clip name, or `local-dir:PATH`; `weights` a pretrained tag or the path of a checkpoint, None with
    `local-dir:`. `untrained` asks for random weights, on purpose.
    """

    model: str
    weights: str | None
    untrained: bool = False
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


def check_encoder_spec(spec: EncoderSpec) -> None:
    """Check that the spec says where its weights come from, and that files of this machine are there.

    Raises:
        ModelError: Weights are given twice, not at all, or are missing.
    """
    if spec.untrained and spec.weights:
        raise ModelError(f"{spec.model}: `untrained: true` and `weights: {spec.weights}` exclude each other; drop one")
    if spec.model.startswith(LOCAL_DIR):
        if spec.weights:
            raise ModelError(f"{spec.model}: a local folder brings its own weights; drop `weights: {spec.weights}`")
        _check_local_dir(spec)
    elif not spec.weights and not spec.untrained:
        raise ModelError(
            f"{spec.model}: expected `weights` (a pretrained tag or a file), found none; "
            "say `untrained: true` if random weights are what you mean"
        )
    elif spec.weights and _looks_like_file(spec.weights) and not Path(spec.weights).is_file():
        raise ModelError(f"{spec.weights}: no such checkpoint file, the `weights` of {spec.model}")


def _check_local_dir(spec: EncoderSpec) -> None:
    folder = Path(spec.model.removeprefix(LOCAL_DIR))
    if not (folder / "open_clip_config.json").is_file():
        raise ModelError(
            f"{folder}: expected a folder with open_clip_config.json, the `model` of an appearance variant"
        )
    if not spec.untrained and local_weights(spec) is None:
        raise ModelError(f"{folder}: expected one of {', '.join(_WEIGHT_NAMES)}, found none; or say `untrained: true`")


def _looks_like_file(weights: str) -> bool:
    return "/" in weights or Path(weights).suffix in {".safetensors", ".pt", ".pth", ".bin"}


def local_weights(spec: EncoderSpec) -> Path | None:
    """Return the file of weights on this machine, or None where they come from a hub or are random."""
    if spec.model.startswith(LOCAL_DIR):
        folder = Path(spec.model.removeprefix(LOCAL_DIR))
        return next((folder / name for name in _WEIGHT_NAMES if (folder / name).is_file()), None)
    return Path(spec.weights) if spec.weights and Path(spec.weights).is_file() else None


def weights_fingerprint(spec: EncoderSpec) -> str:
    """Return what tells one set of weights from another: a digest of the files, or model name and tag.

    Raises:
        ModelError: As `check_encoder_spec`.
    """
    check_encoder_spec(spec)
    parts = [f"{spec.model}|{spec.weights}|{spec.untrained}"] if not spec.model.startswith(LOCAL_DIR) else []
    if spec.model.startswith(LOCAL_DIR):
        parts.append(_digest(Path(spec.model.removeprefix(LOCAL_DIR)) / "open_clip_config.json"))
    weights = local_weights(spec)
    if weights is not None and not spec.untrained:
        parts = [part.replace(str(spec.weights), "") for part in parts] + [_digest(weights)]
    return "+".join(parts)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()[:32]
