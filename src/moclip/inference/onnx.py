"""Export models as ONNX and compare them with torch. Needs the extra `export`."""

import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip import __version__
from moclip.config.methods import METHODS
from moclip.config.network_settings import MotionNetworkVariant
from moclip.core.files import replace_atomically
from moclip.core.tensors import digest_tensors
from moclip.encoders.clip import Encoder, load_encoder
from moclip.encoders.motion_network import load_network
from moclip.encoders.zero_shot import SCALE
from moclip.errors import ModelError
from moclip.inference.run import RunParts
from moclip.inference.settings import with_device
from moclip.training.head_files import TrainedHead
from moclip.training.head_inputs import STREAM_ORDER
from moclip.training.head_strategy import find_strategy, load_head

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

TOLERANCE = 1e-4

_BATCHES = (1, 5)

_ONNXRUNTIME_ERRORS = 3


@dataclass(frozen=True, kw_only=True)
class OnnxReport:
    """One exported model.

    Attributes:
        file: Its name.
        difference: The largest difference from torch, as a share of the largest value or of 1.
        preprocessing: What its inputs are made of.
    """

    file: str
    difference: float
    preprocessing: Mapping[str, Any]


def check_export_is_possible() -> None:
    """Check that what ONNX needs is installed.

    Raises:
        ModelError: It is not.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise ModelError(f"--onnx: the package {name} is not installed; run: make export") from None


def has_graph(saved: TrainedHead) -> bool:
    """Return whether a head can be written as a graph: not for every kind, nor for one that sees every frame."""
    return find_strategy(saved.config.kind).has_graph and not saved.layout.frames


class HeadGraph(nn.Module):
    """A head from the embeddings of its streams, (N, D) each, in order; scaled first where the head was trained so."""

    def __init__(self, saved: TrainedHead) -> None:
        super().__init__()
        self.head = load_head(saved)
        # A head that began as class prompts reads unit embeddings at CLIP's temperature.
        self.scale = SCALE if "alpha" in saved.chosen else 1.0
        self.normalise = saved.config.normalise

    def forward(self, *streams: Tensor) -> Tensor:
        """Return the logits, (N, K)."""
        scaled = streams
        if self.normalise == "l2":
            scaled = tuple(nn.functional.normalize(stream, dim=1, eps=1e-30) for stream in streams)
        elif self.normalise == "layer":
            scaled = tuple(nn.functional.layer_norm(stream, stream.shape[1:]) for stream in streams)
        logits: Tensor = self.head(self.scale * torch.cat(scaled, dim=1))
        return logits


class MotionGraph(nn.Module):
    """A motion network from coded fields, (N, 2, P, P), to its embedding, (N, D), and its logits, (N, K)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Return embedding and logits of every crop; a video's are the means over its segments and crops."""
        embedding = self.network.embed(fields)
        return embedding, self.network.classifier(embedding)


class ImageGraph(nn.Module):
    """An image tower from prepared pictures, (N, 3, H, W), to its embedding, (N, D), not normalised."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the embeddings."""
        embedding: Tensor = self.model.encode_image(pictures)
        return embedding


def export_models(parts: RunParts, folder: Path) -> tuple[OnnxReport, ...]:
    """Write the encoders and heads of a run as ONNX with metadata. Heads without a graph are named in the log.

    Raises:
        ModelError: A model is missing, or its ONNX is not what torch computes.
    """
    reports = []
    about = {"run": parts.name, "class_names": list(parts.class_names)}
    if parts.network is not None and parts.motion_network is not None:
        side = parts.motion_network.input_px
        source = parts.motion.variant.source if parts.motion else ""
        reports.append(
            export_onnx(
                MotionGraph(load_network(parts.network)),
                folder / "motion_network.onnx",
                inputs={"fields": (2, side, side)},
                outputs=("embedding", "logits"),
                preprocessing=describe_motion_input(parts.motion_network, source=source),
                about=about,
            )
        )
    if parts.appearance is not None:
        encoder = load_encoder(with_device(parts.appearance, "cpu"))
        preprocessing = describe_pictures(encoder)
        reports.append(
            export_onnx(
                ImageGraph(encoder.model),
                folder / "image_encoder.onnx",
                inputs={"pictures": (3, *preprocessing["size"])},
                outputs=("embedding",),
                preprocessing=preprocessing,
                about=about,
            )
        )
    return (*reports, *_export_heads(parts, folder, about=about))


def describe_motion_input(network: MotionNetworkVariant, *, source: str) -> dict[str, Any]:
    """Return how the input of a motion network is made from a video, ready for JSON."""
    return {
        **network.canonical(only={"field", "input_px", "max_px", "rescale_vectors"}),
        **network.embedding.canonical(only={"num_segments", "crops", "flips"}),
        "geometry": network.geometry,
        "source": source,
    }


def describe_pictures(encoder: Encoder) -> dict[str, Any]:
    """Return how the input of an image encoder is made from a video, ready for JSON."""
    found = dict(encoder.model.visual.preprocess_cfg)
    size = found["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return {**found, "size": [height, width], "frames": encoder.variant.frames.canonical()}


def _export_heads(parts: RunParts, folder: Path, *, about: Mapping[str, Any]) -> Iterator[OnnxReport]:
    for name, saved in parts.load_heads().heads.items():
        if not has_graph(saved):
            _log.warning("%s: a head of kind %s has no ONNX form here and is left out", name, saved.config.kind)
            continue
        used = [stream for stream in STREAM_ORDER if stream in METHODS[name].streams]
        yield export_onnx(
            HeadGraph(saved),
            folder / f"head_{name}.onnx",
            inputs={stream: (getattr(saved.layout, stream),) for stream in used},
            outputs=("logits",),
            preprocessing={"pooling": saved.config.pooling},
            about=about,
        )


def export_onnx(
    graph: nn.Module,
    path: Path,
    *,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    preprocessing: Mapping[str, Any],
    about: Mapping[str, Any],
) -> OnnxReport:
    """Write a graph as ONNX with any number of rows, and return how far onnxruntime is from torch on random inputs.

    Args:
        graph: The model.
        path: The file to write.
        inputs: The shape of each input without the rows, by name.
        outputs: Names of the outputs.
        preprocessing: What the inputs are made of, for the metadata.
        about: Further metadata.

    Raises:
        ModelError: torch cannot export it, or the results differ by more than 1e-4.
    """
    graph.eval()
    note = {
        **about,
        "name": path.stem,
        "inputs": {name: ["rows", *shape] for name, shape in inputs.items()},
        "outputs": list(outputs),
        "preprocessing": preprocessing,
        "moclip_version": __version__,
        "weights_digest": _digest_weights(graph),
    }
    metadata = {key: text if isinstance(text, str) else json.dumps(text) for key, text in note.items()}
    with replace_atomically(path, suffix=".onnx") as temporary:
        _export(graph, temporary, inputs=inputs, outputs=outputs, metadata=metadata)
        difference = _compare(graph, temporary, inputs=inputs)
        # Inside the block: an error here keeps the file from its place.
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{path}: expected results as torch's to {TOLERANCE}, found a difference of {difference:.2g}"
            )
    return OnnxReport(file=path.name, difference=difference, preprocessing=preprocessing)


def _digest_weights(graph: nn.Module) -> str:
    """Return the digest of the weights under their own names; for motion networks, the one in their file."""
    return digest_tensors({name.partition(".")[2]: value.cpu().numpy() for name, value in graph.state_dict().items()})


def _examples(inputs: Mapping[str, Sequence[int]], *, rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    return tuple(torch.randn(rows, *shape, generator=generator) for shape in inputs.values())


def _export(
    graph: nn.Module,
    path: Path,
    *,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    metadata: Mapping[str, str],
) -> None:
    example = _examples(inputs, rows=2)
    rows = torch.export.Dim("rows", min=1)
    shapes: Any = tuple({0: rows} for _ in example)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                example,
                input_names=list(inputs),
                output_names=list(outputs),
                # What a graph with several inputs takes as *streams is one argument, a tuple of them.
                dynamic_shapes={"streams": shapes} if isinstance(graph, HeadGraph) else shapes,
                dynamo=True,
                verbose=False,
            )
            if program is None:
                raise TypeError("no program")
            program.model.producer_name, program.model.producer_version = "moclip", metadata["moclip_version"]
            program.model.metadata_props.update(metadata)
            program.save(path, external_data=False)
    except Exception as error:  # torch.export raises many types
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"{path.name}: torch cannot export this model to ONNX: {text}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, whose notes and warnings are about its own steps: the exported file is compared anyway."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compare(graph: nn.Module, path: Path, *, inputs: Mapping[str, Sequence[int]]) -> float:
    onnxruntime = importlib.import_module("onnxruntime")
    onnxruntime.set_default_logger_severity(_ONNXRUNTIME_ERRORS)  # it warns of GPUs that are not there
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows in _BATCHES:
        values = _examples(inputs, rows=rows)
        feed = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
        with torch.inference_mode():
            expected = graph(*values)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for found, wanted in zip(session.run(None, feed), expected, strict=True):
            scale = max(1.0, float(wanted.abs().max()))
            worst = max(worst, float(np.abs(found - wanted.numpy()).max()) / scale)
    return worst
