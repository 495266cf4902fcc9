"""Encoders compiled by OpenVINO, the optional backend `openvino`."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.encoders.spec import EncoderSpec
from moclip.errors import ModelError

Floats = NDArray[np.float32]

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class _Tower(torch.nn.Module):
    def __init__(self, encode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.encode = encode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encode(x)


class OpenVinoTower:
    """As `runtime.ImageTower`; every batch size is compiled when it is first seen."""

    num_in_flight = 1

    def __init__(
        self, encode: Callable[[torch.Tensor], torch.Tensor], *, spec: EncoderSpec, example: torch.Tensor
    ) -> None:
        """Convert a frozen fp32 model's `encode_image`, seen at work on an example (1, 3, H, W).

        Raises:
            ModelError: openvino is not installed, or cannot convert the model.
        """
        self._openvino, self._spec = _import_openvino(spec), spec
        self._compiled: dict[tuple[int, ...], Any] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, about the tracer that openvino uses
                self._graph = self._openvino.convert_model(_Tower(encode).eval(), example_input=example)
        except Exception as error:  # its front end raises many types
            text = " ".join(str(error).split())[:200]
            raise ModelError(f"{spec.model}: openvino cannot convert it ({text}); set `backend: torch`") from error

    def start(self, batch: Floats) -> Callable[[], Floats]:
        """As `runtime.ImageTower.start`."""
        if batch.shape not in self._compiled:
            self._compiled[batch.shape] = self._compile(batch.shape)
        result = np.array(self._compiled[batch.shape](batch)[0], np.float32)
        return lambda: result

    def _compile(self, shape: tuple[int, ...]) -> Any:
        self._graph.reshape(list(shape))
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._spec.precision],
            "INFERENCE_NUM_THREADS": self._spec.threads,
            "NUM_STREAMS": 1,
            # Pinned, the workers of two jobs share one core and leave the other idle.
            "ENABLE_CPU_PINNING": False,
        }
        return self._openvino.Core().compile_model(self._graph, "CPU", options)


def _import_openvino(spec: EncoderSpec) -> Any:
    try:
        import openvino  # noqa: PLC0415 (an optional package, and slow)
    except ImportError:
        raise ModelError(
            f"{spec.model}: `backend: openvino`, and openvino is not installed; "
            "run `make openvino`, or set `backend: torch`"
        ) from None
    return openvino


_HINTS = {"fp32": "f32", "bf16": "bf16"}


def compile_openvino(
    network: nn.Module, *, example: Tensor, precision: str, threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from inputs, float32 (N, 2, P, P), to the network's outputs, float32 (N, D).

    `example` is one input, (1, 2, P, P). Every input is computed by itself on one thread, several at a time, so that
    its numbers depend neither on other videos nor on the number of threads.

    Raises:
        ModelError: OpenVINO is not installed.
    """
    try:
        import openvino as ov  # noqa: PLC0415
    except ImportError:
        raise ModelError(
            "motion_network.embedding.backend: `openvino` is not installed; run: make openvino, or set `backend: torch`"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter traces the network in a way that torch calls old
        model = ov.convert_model(network.eval().requires_grad_(False), example_input=example)
    model.reshape({0: [1, *example.shape[1:]]})
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,  # or two jobs would share one core
    }
    queue = ov.AsyncInferQueue(ov.Core().compile_model(model, "CPU", options), threads)

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(inputs)

        def keep(request: "ov.InferRequest", index: int) -> None:
            outputs[index] = request.get_output_tensor().data.copy()

        queue.set_callback(keep)
        for index in range(len(inputs)):
            queue.start_async([inputs[index : index + 1]], index)
        queue.wait_all()
        return np.concatenate(outputs)

    return run
