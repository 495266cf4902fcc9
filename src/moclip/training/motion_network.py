"""The training loop of the motion network, a temporal segment network.

The random crop of a sample depends on seed, epoch and video id only; order and dropout of an epoch on seed and epoch.
No state of a random generator is carried from epoch to epoch, so the order of the manifest or an interruption changes
no weight.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from moclip.config.network_settings import MotionNetworkVariant, NetworkTraining
from moclip.core.digests import seed_of
from moclip.core.prefetch import prefetch
from moclip.encoders.motion_input import build_segments, crop_for_test, decode_crops
from moclip.encoders.motion_network import MotionNetwork, build_network, stem_parameters
from moclip.encoders.runtime import DTYPES, choose_device
from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.training.checkpoint import Epoch, Progress, load_checkpoint, save_checkpoint
from moclip.training.motion_data import Sample, draw_batches

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """The network of the chosen epoch (counted from 1), and how all epochs went."""

    network: MotionNetwork
    history: tuple[Epoch, ...]
    best_epoch: int


def train_motion_network(
    train: Sequence[Sample],
    val: Sequence[Sample],
    *,
    num_classes: int,
    variant: MotionNetworkVariant,
    seed: int,
    checkpoint: Path,
) -> TrainedNetwork:
    """Return a network trained with Adam on random segments and crops, its epoch chosen on validation (or the last).

    After each epoch the state is written to `checkpoint`, from where a stopped training continues to the same bits. The
    caller removes it at the end. Test videos take no part.

    Raises:
        ConfigError: The epoch is to be chosen on validation and there is none, or training diverged.
        DatasetError: There is no training video.
        ModelError: Backbone, weights or device are not there.
    """
    if not train:
        raise DatasetError("motion network: expected training videos with motion, found none; see rejects.tsv")
    if variant.select == "val" and not val:
        raise ConfigError(
            "motion_network.select: `val` needs validation videos and there are none; "
            "raise dataset.validation_fraction or set `select: last`"
        )
    trainer = _Trainer(num_classes=num_classes, variant=variant, seed=seed)
    progress = load_checkpoint(checkpoint, network=trainer.network, optimizer=trainer.optimizer)
    for epoch in tqdm(range(len(progress.history) + 1, variant.train.epochs + 1), desc="motion network", unit="epoch"):
        trainer.run_epoch(epoch, train=train, val=val, progress=progress)
        save_checkpoint(checkpoint, network=trainer.network, optimizer=trainer.optimizer, progress=progress)
    trainer.network.load_state_dict(progress.best)
    trainer.network.eval()
    return TrainedNetwork(network=trainer.network, history=tuple(progress.history), best_epoch=progress.best_epoch)


class _Trainer:
    """The network, its optimiser, and one epoch of both."""

    def __init__(self, *, num_classes: int, variant: MotionNetworkVariant, seed: int) -> None:
        self.variant, self.recipe, self.seed = variant, variant.train, seed
        self.device = choose_device(variant.device, model="motion network")
        torch.manual_seed(seed)
        network = build_network(
            variant.backbone,
            weights=variant.weights,
            num_classes=num_classes,
            dropout=variant.train.dropout,
            classifier_init=variant.train.classifier_init,
        )
        _check_norms(network, train=variant.train, weights=variant.weights)
        self.network = network.to(self.device)
        self.optimizer = torch.optim.Adam(
            _parameter_groups(self.network, train=self.recipe), eps=self.recipe.adam_epsilon, fused=True
        )

    def run_epoch(self, epoch: int, *, train: Sequence[Sample], val: Sequence[Sample], progress: Progress) -> None:
        since = time.monotonic()
        factor = schedule_factor(epoch, train=self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * group["multiplier"] * factor
        train_loss, train_top_1 = self._train(epoch, train)
        if not math.isfinite(train_loss):
            raise ConfigError(
                f"motion_network.train.learning_rate: training diverged in epoch {epoch}; "
                f"lower {self.recipe.learning_rate}"
            )
        val_loss, val_top_1 = self._validate(val)
        entry = Epoch(
            epoch=epoch,
            learning_rate=self.recipe.learning_rate * factor,
            train_loss=train_loss,
            train_top_1=train_top_1,
            val_loss=val_loss,
            val_top_1=val_top_1,
        )
        if self.variant.select == "last" or _is_better(entry, progress=progress):
            progress.best_epoch = epoch
            progress.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        progress.history.append(entry)
        _log.info("epoch %d: %s (%.1f s)", epoch, asdict(entry), time.monotonic() - since)

    def _train(self, epoch: int, train: Sequence[Sample]) -> tuple[float, float]:
        self.network.train()
        if self.recipe.freeze_norm:
            freeze_norms(self.network.backbone)
        torch.manual_seed(seed_of(self.seed, epoch, "dropout"))
        ordered = sorted(train, key=lambda sample: seed_of(self.seed, epoch, sample.video_id, "order"))
        batches = draw_batches(
            ordered,
            variant=self.variant,
            seed=lambda sample: seed_of(self.seed, epoch, sample.video_id, "crop"),
        )
        # Summed on the device: reading a number of each step would make a GPU wait for it.
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        for codes, labels in batches:
            loss, correct = self._step(self._move(codes), self._move(labels))
            total += loss * len(labels)
            hits += correct
        return float(total) / len(ordered), int(hits) / len(ordered)

    def _step(self, codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step on crops, uint8 (B, S, 2, P, P), and return the loss and how many videos were right."""
        logits = self._logits(codes.flatten(0, 1)).reshape(*codes.shape[:2], -1).mean(dim=1)
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()

    def _logits(self, codes: Tensor) -> Tensor:
        dtype = DTYPES[self.recipe.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits: Tensor = self.network(decode_crops(codes))
        return logits.float()

    def _move(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    @torch.inference_mode()
    def _validate(self, val: Sequence[Sample]) -> tuple[float, float]:
        if not val:
            return math.nan, math.nan
        self.network.eval()
        total, hits = 0.0, 0
        made = prefetch((partial(self._see, sample) for sample in val), threads=self.variant.loaders, num_ahead=3)
        for sample, codes in zip(val, made, strict=True):
            logits = self._logits(self._move(codes)).mean(dim=0)
            label = torch.tensor(sample.class_index, device=self.device)
            total += float(torch.nn.functional.cross_entropy(logits, label))
            hits += int(logits.argmax() == label)
        return total / len(val), hits / len(val)

    def _see(self, sample: Sample) -> Tensor:
        num_segments = self.recipe.num_segments
        fields = build_segments(sample.motion(), variant=self.variant, num_segments=num_segments, rng=None)
        return crop_for_test(fields, variant=self.variant, crops=1, flips=False)


def _check_norms(network: MotionNetwork, *, train: NetworkTraining, weights: str) -> None:
    # Folded norms pass on what they get, plus a bias. Trained as norms they would scale it by its own spread, and the
    # network that starts would be another than the one whose weights these are.
    norms = [module for module in network.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    folded = all(bool((norm.weight == 1).all()) and not _any(norm.running_mean) for norm in norms)
    if folded and any(_any(norm.bias) for norm in norms) and not train.freeze_norm:
        raise ModelError(
            f"{weights}: its batch norms are folded into its convolutions, and training them as norms would undo the "
            "weights; set `train.freeze_norm: true`, or give weights whose norms are whole"
        )


def _any(values: Tensor | None) -> bool:
    return values is not None and bool(values.any())


def freeze_norms(backbone: torch.nn.Module) -> None:
    """Let the batch norms of a backbone use, and keep, the statistics that they started with.

    Source: Wang et al. 2016 (arXiv 1608.00859), section 3.2, "partial BN".
    """
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def _is_better(entry: Epoch, *, progress: Progress) -> bool:
    if not progress.best_epoch:
        return True
    best = progress.history[progress.best_epoch - 1]
    return (entry.val_top_1, -entry.val_loss) > (best.val_top_1, -best.val_loss)


def schedule_factor(epoch: int, *, train: NetworkTraining) -> float:
    """Return what the base learning rate is multiplied by in an epoch, counted from 1."""
    warm = min(1.0, epoch / (train.warmup_epochs + 1))
    if train.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / train.epochs))
    return warm * math.pow(0.1, sum(epoch > milestone for milestone in train.milestones))


def _parameter_groups(network: MotionNetwork, *, train: NetworkTraining) -> list[dict[str, Any]]:
    stem = stem_parameters(network)
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, value in network.named_parameters():
        part = "classifier" if name.startswith("classifier.") else "stem" if name in stem else "rest"
        decays = train.decay_norm_and_bias or value.ndim > 1
        groups.setdefault((part, decays), []).append(value)
    return [
        {
            "params": values,
            "multiplier": getattr(train.multipliers, part),
            "lr": train.learning_rate * getattr(train.multipliers, part),
            "weight_decay": train.weight_decay if decays else 0.0,
        }
        for (part, decays), values in groups.items()
    ]
