"""Models compiled by OpenVINO, the optional backend `openvino`."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.config.settings import AppearanceVariant
from moclip.errors import ModelError

Floats = NDArray[np.float32]

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class _Graph:
    """A model as OpenVINO's graph, to be compiled for inputs of one shape or several."""

    def __init__(self, module: nn.Module, *, example: Tensor, name: str, precision: str, threads: int) -> None:
        """Convert a frozen fp32 module, traced on an example.

        Raises:
            ModelError: openvino is not installed, or cannot convert the module.
        """
        try:
            import openvino  # noqa: PLC0415 (an optional package, and slow)
        except ImportError:
            raise ModelError(
                f"{name}: `backend: openvino`, and openvino is not installed; "
                "run `make openvino`, or set `backend: torch`"
            ) from None
        self.openvino: Any = openvino
        self._precision, self._threads = precision, threads
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, about the tracer that openvino uses
                self._model = openvino.convert_model(module.eval().requires_grad_(False), example_input=example)
        except Exception as error:  # its front end raises many types
            text = " ".join(str(error).split())[:200]
            raise ModelError(f"{name}: openvino cannot convert it ({text}); set `backend: torch`") from error

    def compile(self, shape: tuple[int, ...], *, num_streams: int) -> Any:
        """Return the model for inputs of a shape, of which `num_streams` are computed at a time."""
        self._model.reshape({0: list(shape)})
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": num_streams,
            # Pinned, the workers of two jobs share one core and leave the other idle.
            "ENABLE_CPU_PINNING": False,
        }
        return self.openvino.Core().compile_model(self._model, "CPU", options)


class _Tower(nn.Module):
    def __init__(self, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encode = encode

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


class OpenVinoTower:
    """As `runtime.ImageTower`; every batch size is compiled when it is first seen."""

    num_in_flight = 1

    def __init__(self, encode: Callable[[Tensor], Tensor], *, variant: AppearanceVariant, example: Tensor) -> None:
        """Convert a frozen fp32 model's `encode_image`, traced on an example (1, 3, H, W).

        Raises:
            ModelError: openvino is not installed, or cannot convert the model.
        """
        self._graph = _Graph(
            _Tower(encode), example=example, name=variant.model, precision=variant.precision, threads=variant.threads
        )
        self._compiled: dict[tuple[int, ...], Any] = {}

    def start(self, batch: Floats) -> Callable[[], Floats]:
        """As `runtime.ImageTower.start`."""
        if batch.shape not in self._compiled:
            self._compiled[batch.shape] = self._graph.compile(batch.shape, num_streams=1)
        result = np.array(self._compiled[batch.shape](batch)[0], np.float32)
        return lambda: result


def compile_openvino(
    network: nn.Module, *, example: Tensor, precision: str, threads: int
) -> Callable[[Floats], Floats]:
    """Return a function from inputs, float32 (N, 2, P, P), to the outputs of a motion network, float32 (N, D).

    `example` is one input, (1, 2, P, P). Each input is computed alone on one thread, several at a time, so that an
    output depends neither on other videos nor on the number of threads.

    Raises:
        ModelError: openvino is not installed, or cannot convert the network.
    """
    graph = _Graph(network, example=example, name="motion network", precision=precision, threads=threads)
    queue = graph.openvino.AsyncInferQueue(graph.compile(tuple(example.shape), num_streams=threads), threads)

    def run(inputs: Floats) -> Floats:
        outputs: list[Floats] = [np.empty(0, np.float32)] * len(inputs)

        def keep(request: Any, index: int) -> None:
            outputs[index] = request.get_output_tensor().data.copy()

        queue.set_callback(keep)
        for index in range(len(inputs)):
            queue.start_async([inputs[index : index + 1]], index)
        queue.wait_all()
        return np.concatenate(outputs)

    return run
