"""Frozen open_clip encoders: frames and sentences to embeddings. The only module that imports open_clip."""

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from moclip.encoder_spec import LOCAL_DIR, EncoderSpec, check_encoder_spec, local_weights
from moclip.errors import ModelError

Floats = NDArray[np.float32]
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Models of OpenAI's own release: their weights were trained with QuickGELU.
_OPENAI_SUFFIX = "-quickgelu"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen model in eval mode with its own preprocessing and tokenizer."""

    spec: EncoderSpec
    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    device: torch.device

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        """Return the embeddings, float32 (N, D), not normalised, of RGB pictures, uint8 (H, W, 3) each."""
        batch = torch.stack([self.preprocess(Image.fromarray(image)) for image in images])
        return self._run(self.model.encode_image, batch)

    def encode_texts(self, sentences: Sequence[str]) -> Floats:
        """Return the embeddings, float32 (N, D), not normalised, of sentences."""
        return self._run(self.model.encode_text, self.tokenizer(list(sentences)))

    def _run(self, encode: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> Floats:
        dtype = _PRECISIONS.get(self.spec.precision)
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            embeddings = encode(batch.to(self.device)).float().cpu().numpy()
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f"{self.spec.model}: an embedding is not finite at precision {self.spec.precision}; use fp32"
            )
        return np.asarray(embeddings, dtype=np.float32)


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Return the encoder that a spec names, frozen, in eval mode, on its device.

    Raises:
        ModelError: The name or tag is unknown, weights are missing or do not fit, QuickGELU weights are given to a GELU
            model, or there is no such device.
    """
    check_encoder_spec(spec)
    if not spec.model.startswith(LOCAL_DIR):
        _check_names(spec)
    device = _choose_device(spec)
    if spec.untrained:
        torch.manual_seed(0)  # random on purpose, and the same random weights in every run
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            spec.model,
            pretrained=spec.weights,
            load_weights=not spec.untrained,
            pretrained_text=False,
            require_pretrained=not spec.untrained,
            device=device,
        )
        tokenizer = open_clip.get_tokenizer(spec.model)
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        detail = " ".join(str(error).split())[:300]
        raise ModelError(f"{spec.model}: cannot load {_weights_name(spec)}: {detail}") from None
    model.eval().requires_grad_(False)
    return Encoder(spec=spec, model=model, preprocess=preprocess, tokenizer=tokenizer, device=device)


def _weights_name(spec: EncoderSpec) -> str:
    return spec.weights or str(local_weights(spec) or "the model")


def _check_names(spec: EncoderSpec) -> None:
    known = open_clip.list_models()
    if spec.model not in known:
        near = difflib.get_close_matches(spec.model, known, n=3, cutoff=0.0)
        raise ModelError(f"{spec.model}: no open_clip model of that name; the nearest are {', '.join(near)}")
    if spec.weights and local_weights(spec) is None:
        tags = open_clip.list_pretrained_tags_by_model(spec.model)
        if spec.weights not in tags:
            near = difflib.get_close_matches(spec.weights, tags, n=3, cutoff=0.0)
            raise ModelError(f"{spec.model}: no weights tagged `{spec.weights}`; the nearest are {', '.join(near)}")
    _check_quick_gelu(spec)


def _check_quick_gelu(spec: EncoderSpec) -> None:
    # open_clip turns QuickGELU on for the tag `openai`, and not for the same weights as a file.
    path = local_weights(spec)
    config = open_clip.get_model_config(spec.model) or {}
    if path is None or config.get("quick_gelu") or "openai" not in path.name.lower():
        return
    better = f"{spec.model}{_OPENAI_SUFFIX}"
    raise ModelError(
        f"{path}: weights of OpenAI's release expect QuickGELU, and `{spec.model}` has GELU; "
        f"set `model: {better if better in open_clip.list_models() else 'a -quickgelu model'}`"
    )


def _choose_device(spec: EncoderSpec) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if spec.device == "cuda" and not has_gpu:
        raise ModelError(f"{spec.model}: `device: cuda`, and torch finds no GPU; set `device: cpu` or `auto`")
    return torch.device("cuda" if spec.device != "cpu" and has_gpu else "cpu")


def build_class_embeddings(encoder: Encoder, prompts: Mapping[str, Sequence[str]]) -> Floats:
    """Return one unit embedding for each class, float32 (K, D): the mean of its prompts' unit embeddings, made unit.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.4; each prompt is normalised before the mean.
    """
    return np.stack([_mean_of_units(encoder.encode_texts(sentences)) for sentences in prompts.values()])


def _mean_of_units(embeddings: Floats) -> Floats:
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    mean = units.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)
