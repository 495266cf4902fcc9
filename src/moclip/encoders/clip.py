"""Frozen open_clip encoders: embeddings of frames and sentences. The only module that imports open_clip."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.factory import load_state_dict
from PIL import Image
from safetensors.torch import save_file

from moclip.config.settings import AppearanceVariant
from moclip.core.files import replace_atomically
from moclip.core.numerics import unit
from moclip.encoders.catalog import check_encoder_names
from moclip.encoders.hub import explain_fetch, find_missing_package, is_unreachable
from moclip.encoders.runtime import ImageTower, build_tower, choose_device, numerics
from moclip.encoders.spec import (
    CONFIG_NAME,
    LOCAL_DIR,
    check_encoder,
    local_weights,
    read_preprocess,
    weights_fingerprint,
)
from moclip.errors import ModelError

Floats = NDArray[np.float32]
_QUICK_GELU = "-quickgelu"  # how open_clip names the twin of a model that has QuickGELU in place of GELU
_BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen model in eval mode with its own preprocessing and tokenizer."""

    variant: AppearanceVariant
    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    device: torch.device
    embedding_dim: int

    @cached_property
    def tokenizer(self) -> Callable[[Sequence[str]], torch.Tensor]:
        """The model's own tokenizer, made when first asked for: some need files or packages that images do not.

        Raises:
            ModelError: It cannot be made on this machine.
        """
        try:
            return open_clip.get_tokenizer(self.variant.model)  # type: ignore[no-any-return]
        except Exception as error:
            raise ModelError(_explain_tokenizer(self.variant.model, error)) from error

    @property
    def provenance(self) -> dict[str, Any]:
        """What computed the embeddings: versions, device, precision and weights."""
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        return {
            "open_clip": str(open_clip.__version__),
            "torch": str(torch.__version__),
            "device": gpu or "cpu",
            "precision": self.variant.precision,
            "backend": self.variant.backend,
            "weights": weights_fingerprint(self.variant),
            "preprocess": dict(self.model.visual.preprocess_cfg),
            "trained": not self.variant.untrained,
        }

    @cached_property
    def tower(self) -> ImageTower:
        """The image tower of the backend, made when first asked for: sentences need none.

        Raises:
            ModelError: As `runtime.build_tower`.
        """
        noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        example = torch.from_numpy(self.prepare_images([noise]))
        return build_tower(self.model, variant=self.variant, device=self.device, example=example)

    def encode_images(self, images: Sequence[NDArray[np.uint8]], *, batch_size: int = _BATCH_SIZE) -> Floats:
        """Return the embeddings, float32 (N, D), not normalised, of RGB pictures, uint8 (H, W, 3) each.

        Raises:
            ModelError: A picture is of another kind, or an embedding is not finite.
        """
        starts = range(0, len(images), batch_size)
        batches = (self.prepare_images(images[start : start + batch_size]) for start in starts)
        parts = [self.start_images(batch, batch_size=batch_size)() for batch in batches]
        return np.concatenate(parts) if parts else np.empty((0, self.embedding_dim), np.float32)

    def prepare_images(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        """Return what the image tower sees of one or more RGB pictures, uint8 (H, W, 3) each: float32 (N, 3, h, w).

        Raises:
            ModelError: A picture is of another kind.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ModelError(f"expected pictures of uint8 (H, W, 3), found {image.dtype} {image.shape}")
        return torch.stack([self.preprocess(Image.fromarray(image)) for image in images]).numpy()

    def start_images(self, prepared: Floats, *, batch_size: int) -> Callable[[], Floats]:
        """Begin to embed at most `batch_size` prepared pictures; return what waits for their embeddings, (N, D).

        Every forward pass has `batch_size` pictures, filled up with the last one: the order of a matrix product's sums
        follows from its size, so that a row's last bits would follow from the other pictures of its batch.

        Raises:
            ModelError: An embedding is not finite, or of another width (both raised by what is returned).
        """
        count = len(prepared)
        if count < batch_size:
            prepared = np.concatenate([prepared, np.repeat(prepared[-1:], batch_size - count, axis=0)])
        finish = self.tower.start(prepared)
        return lambda: self._checked(finish()[:count])

    def encode_texts(self, sentences: Sequence[str]) -> Floats:
        """Return the embeddings, float32 (N, D), not normalised, of sentences.

        Raises:
            ModelError: There is no tokenizer, or an embedding is not finite.
        """
        chunks = [list(sentences[start : start + _BATCH_SIZE]) for start in range(0, len(sentences), _BATCH_SIZE)]
        parts = [self._encode_text_chunk(self.tokenizer(chunk)) for chunk in chunks]
        return np.concatenate(parts) if parts else np.empty((0, self.embedding_dim), np.float32)

    def _encode_text_chunk(self, tokens: torch.Tensor) -> Floats:
        count = len(tokens)
        if count < _BATCH_SIZE:
            tokens = torch.cat([tokens, tokens[-1:].expand(_BATCH_SIZE - count, -1)])
        with torch.inference_mode(), numerics(self.variant.precision, device=self.device):
            embeddings = self.model.encode_text(tokens.to(self.device))[:count].float().cpu().numpy()
        return self._checked(np.asarray(embeddings, dtype=np.float32))

    def _checked(self, embeddings: Floats) -> Floats:
        model, precision = self.variant.model, self.variant.precision
        if embeddings.shape[1] != self.embedding_dim:
            raise ModelError(
                f"{model}: expected embeddings of {self.embedding_dim} values, found {embeddings.shape[1]}; "
                "correct the key `embed_dim` of its config"
            )
        if not np.isfinite(embeddings).all():
            raise ModelError(f"{model}: an embedding is not finite at precision {precision}; use fp32")
        return embeddings


def load_encoder(variant: AppearanceVariant) -> Encoder:
    """Return the encoder that a variant names, frozen, in eval mode, on its device.

    `bf16` on a CPU is open_clip's own: weights in bf16, norms in fp32. On a GPU `bf16` and `fp16` are autocast over
    fp32 weights. The number of torch's threads in this process is set to `variant.threads`, on which rounding depends.

    Raises:
        ModelError: The name or tag is unknown, weights are missing or do not fit, QuickGELU weights meet a GELU model
            or the other way round, or there is no such device.
    """
    check_encoder(variant)
    if not variant.model.startswith(LOCAL_DIR):
        tags = open_clip.list_pretrained_tags_by_model(variant.model)
        check_encoder_names(variant, models=open_clip.list_models(), tags=tags)
        _check_quick_gelu(variant)
    device = choose_device(variant.device, model=variant.model)
    if variant.precision == "fp16" and device.type != "cuda":
        raise ModelError(f"{variant.model}: fp16 needs a GPU, and torch finds none; set `precision: fp32`")
    torch.set_num_threads(variant.threads)
    model, preprocess = _create_model(variant, device=device)
    _check_shapes(variant, model)
    model.eval().requires_grad_(False)
    # Convolutions run 1.3 to 1.7 times as fast on a CPU in this layout, transformers as before; the pictures follow.
    model.visual.to(memory_format=torch.channels_last)
    embedding_dim = embedding_dim_of(variant.model)
    return Encoder(variant=variant, model=model, preprocess=preprocess, device=device, embedding_dim=embedding_dim)


def build_outline(model: str) -> Any:
    """Return an open_clip model on torch's meta device, frozen: layers and shapes without weights or memory for them.

    Raises:
        ModelError: There is no such model.
    """
    if not model.startswith(LOCAL_DIR):
        check_encoder_names(AppearanceVariant(model=model))
    logging.disable(logging.WARNING)  # open_clip warns that the weights are random
    try:
        with torch.device("meta"):
            outline = open_clip.create_model(model, load_weights=False, pretrained_text=False, device="meta")
    except Exception as error:  # open_clip and timm raise many types
        raise ModelError(f"{model}: cannot build it: {_one_line(error)}") from error
    finally:
        logging.disable(logging.NOTSET)
    return outline.eval().requires_grad_(False)


def embedding_dim_of(model: str) -> int:
    """Return the width of the embeddings of a model that open_clip knows."""
    return int(open_clip.get_model_config(model)["embed_dim"])


def _create_model(
    variant: AppearanceVariant, *, device: torch.device
) -> tuple[Any, Callable[[Image.Image], torch.Tensor]]:
    preprocess_cfg = choose_preprocess(variant)
    # OpenVINO rounds by itself, from exact weights.
    low = device.type == "cpu" and variant.precision == "bf16" and variant.backend != "openvino"
    try:
        # Seeded apart: random weights are the same ones everywhere, and the caller's random numbers go on as before.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model, _, preprocess = open_clip.create_model_and_transforms(
                variant.model,
                pretrained=variant.weights or None,
                load_weights=not variant.untrained,
                require_pretrained=not variant.untrained,
                pretrained_text=False,
                precision="bf16" if low else "fp32",
                weights_only=True,
                **{f"image_{key}": value for key, value in preprocess_cfg.items()},
            )
    except Exception as error:  # open_clip, timm, torch and safetensors raise many types
        if is_unreachable(error) and not variant.model.startswith(LOCAL_DIR):
            raise ModelError(_explain_offline(variant)) from error
        weights = variant.weights or local_weights(variant) or "the model"
        raise ModelError(
            f"{variant.model}: cannot load {weights}: {_one_line(error)}; see that they are whole and its own"
        ) from error
    return model.to(device), preprocess


def choose_preprocess(variant: AppearanceVariant) -> dict[str, Any]:
    """Return mean, std, interpolation and resize mode for weights in a file; empty if open_clip knows them.

    Raises:
        ModelError: The tags of the model expect different pictures, and nothing says which of them the file expects.
    """
    path = local_weights(variant)
    if path is None or variant.model.startswith(LOCAL_DIR):
        return {}
    tags = open_clip.list_pretrained_tags_by_model(variant.model)
    if variant.preprocess:
        check_encoder_names(variant, models=open_clip.list_models(), tags=tags)
        return _preprocess_of_tag(variant.model, variant.preprocess)
    if given := read_preprocess(path):
        return given
    by_form: dict[str, list[str]] = {}
    for tag in tags:
        by_form.setdefault(json.dumps(_preprocess_of_tag(variant.model, tag), sort_keys=True), []).append(tag)
    if len(by_form) > 1:
        forms = "; ".join(f"{', '.join(named[:3])}: {form}" for form, named in by_form.items())
        raise ModelError(
            f"{path}: expected `preprocess`, a tag of {variant.model} whose pictures the weights expect, since its "
            f"tags differ ({forms}); set it, or copy the weights' {CONFIG_NAME} into the folder of the file"
        )
    return _preprocess_of_tag(variant.model, tags[0]) if tags else {}


def _preprocess_of_tag(model: str, tag: str) -> dict[str, Any]:
    found = open_clip.get_pretrained_cfg(model, tag)
    return {
        "mean": list(found.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        "std": list(found.get("std") or open_clip.OPENAI_DATASET_STD),
        "interpolation": found.get("interpolation") or "bicubic",
        "resize_mode": found.get("resize_mode") or "shortest",
    }


def _explain_offline(variant: AppearanceVariant) -> str:
    model, tag = variant.model, variant.weights
    hub = (open_clip.get_pretrained_cfg(model, tag) or {}).get("hf_hub") or ""
    return explain_fetch(
        f"{model}: the weights `{tag}` are",
        code=f"import open_clip; open_clip.create_model('{model}', pretrained='{tag}')",
        repository="/".join(hub.split("/")[:2]),
    )


def _explain_tokenizer(model: str, error: Exception) -> str:
    package = find_missing_package(error)
    if package:
        return (
            f"{model}: its tokenizer needs the package `{package}`, which is not installed; run `python -m pip install "
            "transformers sentencepiece`, or leave out methods that read class names (`zero_shot`, `zero_shot_head`)"
        )
    if is_unreachable(error):
        text = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
        return explain_fetch(
            f"{model}: the files of its tokenizer are",
            code=f"import open_clip; open_clip.get_tokenizer('{model}')",
            repository=text.get("hf_tokenizer_name", ""),
        )
    return f"{model}: cannot make its tokenizer: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "weights_only" in text or "Weights only" in text:  # torch goes on to advise running what is in the file
        return "it holds more than tensors (pickled code or TorchScript); save its state dict as .safetensors"
    return f"{type(error).__name__}: {text[:300]}"


def _check_quick_gelu(variant: AppearanceVariant) -> None:
    # open_clip 3.3.0 warns if the tag is known, is silent about a file, and computes with the wrong function in both.
    has = bool(open_clip.get_model_config(variant.model).get("quick_gelu"))
    path = local_weights(variant)
    if path is None:
        tag_wants = bool(open_clip.get_pretrained_cfg(variant.model, variant.weights).get("quick_gelu"))
        wants = tag_wants or has  # the table leaves out the mark of some models that have QuickGELU of their own
    else:
        wants = _wants_quick_gelu(path, model=variant.model, otherwise=has)
    if wants == has:
        return
    kinds = ("GELU", "QuickGELU")
    twin = f"{variant.model}{_QUICK_GELU}" if wants else variant.model.removesuffix(_QUICK_GELU)
    advice = f"set `model: {twin}`" if twin in open_clip.list_models() else "take the weights of another training"
    raise ModelError(
        f"{variant.weights}: these weights expect {kinds[wants]}, and `{variant.model}` has {kinds[has]}; {advice}"
    )


def _wants_quick_gelu(path: Path, *, model: str, otherwise: bool) -> bool:
    # What is known of a file: the config next to it, or the tag of a training in its name or its hub cache folder.
    if (config := path.with_name(CONFIG_NAME)).is_file():
        try:
            return bool(json.loads(config.read_text(encoding="utf-8"))["model_cfg"].get("quick_gelu"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(f"{config}: expected an open_clip config, beside the weights of {model}") from None
    folders = [part for part in path.parts[:-1] if part.startswith("models--")]
    name = "/".join([*folders, path.name]).lower().replace("-", "_")
    base = model.removesuffix(_QUICK_GELU)
    tags = [tag for tag in open_clip.list_pretrained_tags_by_model(base) if tag in name]
    if tags:
        return bool(open_clip.get_pretrained_cfg(base, max(tags, key=len)).get("quick_gelu"))
    return otherwise or "quickgelu" in name.replace("_", "")


def _check_shapes(variant: AppearanceVariant, model: Any) -> None:
    # open_clip loads strictly, but resizes the position embeddings of another picture size or text length.
    path = local_weights(variant)
    if path is None:
        return
    own = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    for name, tensor in load_state_dict(str(path)).items():
        if own.get(name, tensor.numel()) != tensor.numel():
            raise ModelError(
                f"{path}: {name} has {tensor.numel()} values, expected {own[name]}; "
                f"a checkpoint of another picture size or text length than {variant.model}"
            )


def build_class_embeddings(encoder: Encoder, prompts: Mapping[str, Sequence[str]]) -> Floats:
    """Return one unit embedding for each class, float32 (K, D): the mean of its prompts' unit embeddings, made unit.

    Raises:
        ModelError: A class has no prompt.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.4; each prompt is normalised before the mean.
    """
    for class_name, sentences in prompts.items():
        if not sentences:
            raise ModelError(f"class {class_name}: expected at least one prompt, found none")
    embeddings = encoder.encode_texts([sentence for sentences in prompts.values() for sentence in sentences])
    ends = np.cumsum([len(sentences) for sentences in prompts.values()])
    means = np.stack([part.mean(axis=0) for part in np.split(unit(embeddings), ends[:-1])])
    return unit(means).astype(np.float32)


_WEIGHTS_NAME = "open_clip_model.safetensors"


def write_encoder(variant: AppearanceVariant, folder: Path) -> None:
    """Write an encoder as a folder for `model: local-dir:`. A local folder is copied byte for byte.

    Raises:
        ModelError: Its weights cannot be found or loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = local_weights(variant)
    if variant.model.startswith(LOCAL_DIR) and weights is not None:
        shutil.copyfile(Path(variant.model.removeprefix(LOCAL_DIR)) / CONFIG_NAME, folder / CONFIG_NAME)
        shutil.copyfile(weights, folder / weights.name)
        return
    encoder = load_encoder(variant)
    config = open_clip.get_model_config(variant.model)
    preprocess = open_clip.get_model_preprocess_cfg(encoder.model)
    if config is None:
        raise ModelError(f"{variant.model}: open_clip has no config of it to export")
    document = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / CONFIG_NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    # The towers share no tensors; copies, because safetensors takes no views.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in encoder.model.state_dict().items()}
    with replace_atomically(folder / _WEIGHTS_NAME) as temporary:
        save_file(tensors, str(temporary))
