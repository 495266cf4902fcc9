"""Checkpoints of a training: weights, optimizer moments, history, and the best weights so far.

No state of a random generator is stored, because each epoch starts its own from the seed and its number. The schedule
is a function of the epoch.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from moclip.core.tensors import expect_tensors, read_tensors, write_tensors
from moclip.errors import ModelError

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
    note = {"history": [asdict(entry) for entry in progress.history], "best_epoch": progress.best_epoch}
    write_tensors(path, {name: value.detach().cpu().numpy() for name, value in tensors.items()}, note=note)


def load_checkpoint(path: Path, *, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Return where a stopped training left off, its weights and optimiser state loaded; or the beginning."""
    fresh = Progress(history=[], best_epoch=0, best={})
    if not path.is_file():
        return fresh
    try:
        with expect_tensors(path, "a state of training"):
            arrays, note = read_tensors(path)
            tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
            history = [Epoch(**entry) for entry in note["history"]]
    except ModelError as error:
        _log.warning("%s", error)
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
