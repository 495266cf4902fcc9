"""Export models as ONNX and compare them with torch. Needs the extra `export`."""

import importlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.core.files import replace_atomically
from moclip.encoders.zero_shot import SCALE
from moclip.errors import ModelError
from moclip.training.head_files import TrainedHead
from moclip.training.head_strategy import find_strategy, load_head

Floats = NDArray[np.float32]

TOLERANCE = 1e-4

_BATCHES = (1, 5)


@dataclass(frozen=True, kw_only=True)
class OnnxReport:
    """One exported model: its file, and the largest difference from torch, as a share of the largest value or of 1."""

    file: str
    difference: float


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


def export_onnx(
    graph: nn.Module, path: Path, *, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str]
) -> OnnxReport:
    """Write a graph as ONNX with any number of rows, and return how far onnxruntime is from torch on random inputs.

    `inputs` maps the name of each input to its shape without the rows.

    Raises:
        ModelError: torch cannot export it, or the results differ by more than 1e-4.
    """
    graph.eval()
    example = _examples(inputs, rows=2)
    rows = torch.export.Dim("rows", min=1)
    shapes: Any = tuple({0: rows} for _ in example)
    with replace_atomically(path, suffix=".onnx") as temporary:
        _export(graph, example, temporary, names=list(inputs), outputs=list(outputs), shapes=shapes)
        difference = _compare(graph, temporary, inputs=inputs)
    if not difference <= TOLERANCE:
        path.unlink(missing_ok=True)
        raise ModelError(f"{path}: expected results as torch's to {TOLERANCE}, found a difference of {difference:.2g}")
    return OnnxReport(file=path.name, difference=difference)


def _examples(inputs: Mapping[str, Sequence[int]], *, rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    return tuple(torch.randn(rows, *shape, generator=generator) for shape in inputs.values())


def _export(
    graph: nn.Module, example: tuple[Tensor, ...], path: Path, *, names: list[str], outputs: list[str], shapes: Any
) -> None:
    # What a graph with several inputs takes as *streams is one argument, a tuple of them.
    several = {"streams": shapes} if isinstance(graph, HeadGraph) else shapes
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                example,
                str(path),
                input_names=names,
                output_names=outputs,
                dynamic_shapes=several,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch.export raises many types
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"{path.name}: torch cannot export this model to ONNX: {text}") from error


def _compare(graph: nn.Module, path: Path, *, inputs: Mapping[str, Sequence[int]]) -> float:
    onnxruntime = importlib.import_module("onnxruntime")
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
