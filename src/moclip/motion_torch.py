"""How torch computes for a motion network: its device, its threads, and kernels that give the same bits again."""

import torch

from moclip.errors import ModelError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def prepare_torch(*, threads: int) -> None:
    """Fix the number of threads and ask for deterministic kernels: the same seed then gives the same bits.

    On a GPU float32 is float32: matrix products and convolutions in TF32 round to 10 bits.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def choose_device(name: str) -> torch.device:
    """Return the device that `cpu`, `cuda` or `auto` means here.

    Raises:
        ModelError: `cuda`, and there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise ModelError("motion_network.device: `cuda`, and torch finds no GPU; set `cpu` or `auto`")
    return torch.device("cuda" if name != "cpu" and has_gpu else "cpu")
