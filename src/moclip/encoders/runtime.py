"""How encoders compute: image towers behind one interface, and device, threads and determinism of torch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from moclip.config.settings import AppearanceVariant
from moclip.encoders.fusion import check_same, fuse_conv_bn
from moclip.errors import ModelError

Floats = NDArray[np.float32]

Finish = Callable[[], Floats]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Accepted difference between a backend and the model itself, as a share of the length of an embedding. Other orders of
# sums give 1e-6; bf16 rounds at 4e-3 in every layer.
_TOLERANCE = {"fp32": 1e-4, "bf16": 0.1}


class ImageTower(Protocol):
    """Prepared pictures to embeddings."""

    @property
    def num_in_flight(self) -> int:
        """How many batches are worth starting before the first is waited for."""

    def start(self, batch: Floats) -> Finish:
        """Begin with (N, 3, H, W) float32 and return what waits for their embeddings, (N, D) float32."""


@dataclass(frozen=True, kw_only=True)
class CpuTower:
    """A tower on the processor, computed at once."""

    tower: Callable[[torch.Tensor], torch.Tensor]
    dtype: torch.dtype = torch.float32
    num_in_flight: int = 1

    def start(self, batch: Floats) -> Finish:
        """As `ImageTower.start`."""
        with torch.inference_mode():
            result = _to_numpy(self.tower(torch.from_numpy(batch).to(self.dtype)))
        return lambda: result


@dataclass(frozen=True, kw_only=True)
class CudaTower:
    """A tower on a GPU: the next batch is on its way while one is computed."""

    tower: Callable[[torch.Tensor], torch.Tensor]
    device: torch.device
    precision: str
    num_in_flight: int = 2

    def start(self, batch: Floats) -> Finish:
        """As `ImageTower.start`."""
        pinned = torch.from_numpy(batch).pin_memory()
        with torch.inference_mode(), numerics(self.precision, device=self.device):
            pictures = pinned.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            computed = self.tower(pictures).float()
            result = torch.empty(computed.shape, dtype=torch.float32, pin_memory=True)
            result.copy_(computed, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(torch.cuda.current_stream(self.device))

        def finish() -> Floats:
            done.synchronize()
            return result.numpy()

        return finish


def numerics(precision: str, *, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a model computes in a number format on a device."""
    if device.type == "cpu":
        return nullcontext()
    if precision != "fp32":
        return torch.autocast("cuda", dtype=DTYPES[precision])
    # fp32 means fp32: cuDNN convolutions are TF32 otherwise.
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def build_tower(model: Any, *, variant: AppearanceVariant, device: torch.device, example: torch.Tensor) -> ImageTower:
    """Return the image tower of a frozen open_clip model for the backend that a variant names.

    `example` is one prepared picture, (1, 3, H, W) float32: what the backend makes of it is compared with the model's
    own embedding. The model's image layers may be exchanged in place.

    Raises:
        ModelError: The backend computes something else than the model, or is not installed.
    """
    if device.type == "cuda":
        return CudaTower(tower=model.encode_image, device=device, precision=variant.precision)
    advice = "; set `backend: eager`"
    if variant.backend == "openvino":
        from moclip.encoders.openvino import OpenVinoTower  # noqa: PLC0415 (an optional package)

        with torch.inference_mode():
            own = model.encode_image(example)
        openvino = OpenVinoTower(model.encode_image, variant=variant, example=example)
        found = torch.from_numpy(openvino.start(example.numpy())())
        check_same(
            found, own, tolerance=_TOLERANCE[variant.precision], what=f"{variant.model}: openvino", advice=advice
        )
        return openvino
    dtype = DTYPES[variant.precision]
    if variant.backend == "torch":
        fuse_conv_bn(
            model.visual,
            run=lambda: model.encode_image(example.to(dtype)),
            tolerance=_TOLERANCE[variant.precision],
            advice=f" in {variant.model}{advice}",
        )
    return CpuTower(tower=model.encode_image, dtype=dtype)


def _to_numpy(embeddings: torch.Tensor) -> Floats:
    return np.asarray(embeddings.float().numpy(), dtype=np.float32)


def prepare_torch(*, threads: int) -> None:
    """Fix the number of threads and ask for deterministic kernels: the same seed then gives the same bits.

    On a GPU float32 is float32: matrix products and convolutions in TF32 round to 10 bits.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def choose_device(name: str, *, model: str) -> torch.device:
    """Return the device that `cpu`, `cuda` or `auto` means here; `model` is named in the error.

    Raises:
        ModelError: `cuda`, and there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise ModelError(f"{model}: `device: cuda`, and torch finds no GPU; set `device: cpu` or `auto`")
    return torch.device("cuda" if name != "cpu" and has_gpu else "cpu")
