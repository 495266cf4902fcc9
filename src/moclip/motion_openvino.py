"""The frozen motion network on OpenVINO, for CPUs. An optional extra: `make openvino`.

The only module that imports openvino, and only once it is asked for.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.errors import ModelError

_HINTS = {"fp32": "f32", "bf16": "bf16"}


def compile_openvino(
    network: nn.Module, *, example: Tensor, precision: str, threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from inputs, float32 (N, 2, P, P), to the network's outputs, float32 (N, D).

    `example` is one input, (1, 2, P, P). Every input is computed by itself on one thread, several at a time, so that
    its numbers depend neither on those beside it nor on the number of threads.

    Raises:
        ModelError: OpenVINO is not installed.
    """
    try:
        import openvino as ov  # noqa: PLC0415
    except ImportError:
        raise ModelError(
            "motion_network.test.backend: `openvino` is not installed; run: make openvino, or set `backend: torch`"
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
