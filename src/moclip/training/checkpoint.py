"""Checkpoints of a training: weights, optimizer moments, history, and the best weights so far.

No state of a random generator is stored, because each epoch starts its own from the seed and its number. The schedule
is a function of the epoch.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from moclip.core.files import replace_atomically
from moclip.core.tensors import DIGEST_KEY, digest_tensors

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch, counted from 1; the validation figures are nan without validation videos."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_top_1: float
    val_loss: float
    val_top_1: float


@dataclass
class Progress:
    """What changes from epoch to epoch, besides the weights and the state of the optimizer."""

    history: list[Epoch]
    best_epoch: int
    best: dict[str, Tensor]


def save_checkpoint(path: Path, *, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the state after an epoch, in place of the one before; a stop while it is written leaves that one."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in progress.best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
    note: dict[str, object] = {
        "history": [asdict(entry) for entry in progress.history],
        "best_epoch": progress.best_epoch,
    }
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    note[DIGEST_KEY] = digest_tensors({name: value.numpy() for name, value in copies.items()})
    with replace_atomically(path) as temporary:
        save_file(copies, str(temporary), metadata={"moclip": json.dumps(note)})


def load_checkpoint(path: Path, *, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Return where a stopped training left off, its weights and optimiser state loaded; or the beginning."""
    fresh = Progress(history=[], best_epoch=0, best={})
    if not path.is_file():
        return fresh
    try:
        with safe_open(str(path), framework="pt") as file:
            note = json.loads((file.metadata() or {})["moclip"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if note[DIGEST_KEY] != digest_tensors({name: value.numpy() for name, value in tensors.items()}):
            raise ValueError("its weights are not those that were written")
        history = [Epoch(**entry) for entry in note["history"]]
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, AttributeError) as error:
        _log.warning("%s: a damaged state of training (%s); it starts again", path, error)
        return fresh
    network.load_state_dict(_below("network.", tensors))
    _load_moments(optimizer, _below("adam.", tensors))
    _log.info("%s: training goes on after epoch %d", path, len(history))
    return Progress(history=history, best_epoch=note["best_epoch"], best=_below("best.", tensors))


def _load_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        states.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    # In the memory layout of the weights, as the optimiser itself lays them out.
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
