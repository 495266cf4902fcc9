"""Training of the motion network as a temporal segment network, and the embeddings it gives once it is frozen.

A sample's random crop depends on the seed, the epoch and its video id alone, and an epoch's order and dropout on seed
and epoch, so that neither the order of the manifest nor a stop half way changes a weight.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.field_batches import FieldConfig, as_floats, build_segments, crop_for_test, crop_for_training
from moclip.files import replace_atomically
from moclip.motion import MotionVectors
from moclip.motion_network import MotionNetwork, build_network, stem_parameters

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe, as in the section `motion_network.<name>.train` of the configuration."""

    num_segments: int
    epochs: int
    batch_size: int
    learning_rate: float
    multipliers: Mapping[str, float]
    adam_epsilon: float
    weight_decay: float
    decay_norm_and_bias: bool
    schedule: Literal["steps", "cosine"]
    milestones: Sequence[int]
    warmup_epochs: int
    scales: Sequence[float]
    flip: bool
    dropout: float
    label_smoothing: float
    freeze_norm: bool


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled video; `motion` reads its vectors from the cache."""

    video_id: str
    class_index: int
    motion: Callable[[], MotionVectors]


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch, counted from 1; the validation figures are nan without validation videos."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_top_1: float
    val_loss: float
    val_top_1: float


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """The network of the chosen epoch (counted from 1), and how all epochs went."""

    network: MotionNetwork
    history: tuple[Epoch, ...]
    best_epoch: int


@dataclass
class _Progress:
    """What changes from epoch to epoch, beside the weights and the optimiser's state."""

    history: list[Epoch]
    best_epoch: int
    best: dict[str, Tensor]


def prepare_torch(*, threads: int) -> None:
    """Fix the number of threads and ask for deterministic kernels: the same seed then gives the same bits."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def choose_device(name: str) -> torch.device:
    """Return the device that `cpu`, `cuda` or `auto` means here.

    Raises:
        ModelError: `cuda`, and there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise ModelError("motion_network.device: `cuda`, and torch finds no GPU; set `cpu` or `auto`")
    return torch.device("cuda" if name != "cpu" and has_gpu else "cpu")


def train_motion_network(
    train: Sequence[Sample],
    val: Sequence[Sample],
    *,
    num_classes: int,
    variant: Mapping[str, Any],
    seed: int,
    checkpoint: Path,
) -> TrainedNetwork:
    """Return a network trained with Adam on random segments and crops, its epoch chosen on validation (or the last).

    `variant` is the checked section of the configuration. After each epoch the state is written to `checkpoint`, from
    where a stopped training goes on to the same bits; the caller removes it at the end. Test videos take no part.

    Raises:
        ConfigError: The epoch is to be chosen on validation and there is none, or training diverged.
        DatasetError: There is no training video.
        ModelError: Backbone, weights or device are not there.
    """
    if not train:
        raise DatasetError("motion network: expected training videos with motion, found none; see rejects.tsv")
    if variant["select"] == "val" and not val:
        raise ConfigError(
            "motion_network.select: `val` needs validation videos and there are none; "
            "raise dataset.validation_fraction or set `select: last`"
        )
    trainer = _Trainer(num_classes=num_classes, variant=variant, seed=seed)
    progress = trainer.resume(checkpoint)
    for epoch in tqdm(range(len(progress.history) + 1, trainer.config.epochs + 1), desc="motion network", unit="epoch"):
        trainer.run_epoch(epoch, train=train, val=val, progress=progress)
        trainer.save(checkpoint, progress=progress)
    trainer.network.load_state_dict(progress.best)
    trainer.network.eval()
    return TrainedNetwork(network=trainer.network, history=tuple(progress.history), best_epoch=progress.best_epoch)


class _Trainer:
    """The network, its optimiser, and one epoch of both."""

    def __init__(self, *, num_classes: int, variant: Mapping[str, Any], seed: int) -> None:
        self.config = TrainConfig(**variant["train"])
        self.fields = FieldConfig.from_config(variant)
        self.select = variant["select"]
        self.seed = seed
        self.device = choose_device(variant["device"])
        torch.manual_seed(seed)
        network = build_network(
            variant["backbone"], weights=variant["weights"], num_classes=num_classes, dropout=self.config.dropout
        )
        self.network = network.to(self.device)
        self.optimizer = torch.optim.Adam(
            _parameter_groups(self.network, config=self.config), eps=self.config.adam_epsilon
        )

    def run_epoch(self, epoch: int, *, train: Sequence[Sample], val: Sequence[Sample], progress: _Progress) -> None:
        since = time.monotonic()
        factor = schedule_factor(epoch, config=self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * group["multiplier"] * factor
        train_loss, train_top_1 = self._train(epoch, train)
        if not math.isfinite(train_loss):
            raise ConfigError(
                f"motion_network.train.learning_rate: training diverged in epoch {epoch}; "
                f"lower {self.config.learning_rate}"
            )
        val_loss, val_top_1 = self._validate(val)
        entry = Epoch(
            epoch=epoch,
            learning_rate=self.config.learning_rate * factor,
            train_loss=train_loss,
            train_top_1=train_top_1,
            val_loss=val_loss,
            val_top_1=val_top_1,
        )
        if self.select == "last" or _is_better(entry, progress=progress):
            progress.best_epoch = epoch
            progress.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        progress.history.append(entry)
        _log.info("epoch %d: %s (%.1f s)", epoch, asdict(entry), time.monotonic() - since)

    def _train(self, epoch: int, train: Sequence[Sample]) -> tuple[float, float]:
        self.network.train()
        if self.config.freeze_norm:
            freeze_norms(self.network.backbone)
        torch.manual_seed(_seed_of(self.seed, epoch, "dropout"))
        ordered = sorted(train, key=lambda sample: _seed_of(self.seed, epoch, sample.video_id, "order"))
        total, hits = 0.0, 0
        for start in range(0, len(ordered), self.config.batch_size):
            batch = ordered[start : start + self.config.batch_size]
            inputs = torch.stack([self._draw(sample, epoch=epoch) for sample in batch]).to(self.device)
            labels = torch.tensor([sample.class_index for sample in batch], device=self.device)
            logits = self.network(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2]).mean(dim=1)
            loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            total += float(loss.detach()) * len(batch)
            hits += int((logits.detach().argmax(dim=1) == labels).sum())
        return total / len(ordered), hits / len(ordered)

    def _draw(self, sample: Sample, *, epoch: int) -> Tensor:
        rng = np.random.default_rng(_seed_of(self.seed, epoch, sample.video_id, "crop"))
        fields = build_segments(sample.motion(), config=self.fields, num_segments=self.config.num_segments, rng=rng)
        return crop_for_training(fields, config=self.fields, scales=self.config.scales, flip=self.config.flip, rng=rng)

    @torch.inference_mode()
    def _validate(self, val: Sequence[Sample]) -> tuple[float, float]:
        if not val:
            return math.nan, math.nan
        self.network.eval()
        total, hits = 0.0, 0
        for sample in val:
            fields = build_segments(
                sample.motion(), config=self.fields, num_segments=self.config.num_segments, rng=None
            )
            crops = crop_for_test(fields, config=self.fields, crops=1, flips=False).to(self.device)
            logits = self.network(crops).mean(dim=0)
            label = torch.tensor(sample.class_index, device=self.device)
            total += float(torch.nn.functional.cross_entropy(logits, label))
            hits += int(logits.argmax() == label)
        return total / len(val), hits / len(val)

    def save(self, path: Path, *, progress: _Progress) -> None:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in progress.best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
        note = {"history": [asdict(entry) for entry in progress.history], "best_epoch": progress.best_epoch}
        with replace_atomically(path) as temporary:
            copies = {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in tensors.items()
            }
            save_file(copies, str(temporary), metadata={"moclip": json.dumps(note)})

    def resume(self, path: Path) -> _Progress:
        """Return where a stopped training left off, its weights and optimiser state loaded; or the beginning."""
        fresh = _Progress(history=[], best_epoch=0, best={})
        if not path.is_file():
            return fresh
        try:
            with safe_open(str(path), framework="pt") as file:
                note = json.loads((file.metadata() or {})["moclip"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            _log.warning("%s: a damaged state of training (%s); it starts again", path, error)
            return fresh
        self.network.load_state_dict(_below("network.", tensors))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("adam.", tensors).items():
            number, _, key = name.partition(".")
            states.setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        history = [Epoch(**entry) for entry in note["history"]]
        _log.info("%s: training goes on after epoch %d", path, len(history))
        return _Progress(history=history, best_epoch=note["best_epoch"], best=_below("best.", tensors))


def freeze_norms(backbone: torch.nn.Module) -> None:
    """Let the batch norms of a backbone use, and keep, the statistics that they started with.

    Source: Wang et al. 2016 (arXiv 1608.00859), section 3.2, "partial BN".
    """
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _is_better(entry: Epoch, *, progress: _Progress) -> bool:
    if not progress.best_epoch:
        return True
    best = progress.history[progress.best_epoch - 1]
    return (entry.val_top_1, -entry.val_loss) > (best.val_top_1, -best.val_loss)


def _seed_of(*parts: object) -> int:
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "little") >> 1


def schedule_factor(epoch: int, *, config: TrainConfig) -> float:
    """Return what the base learning rate is multiplied by in an epoch, counted from 1."""
    warm = min(1.0, epoch / (config.warmup_epochs + 1))
    if config.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))
    return warm * math.pow(0.1, sum(epoch > milestone for milestone in config.milestones))


def _parameter_groups(network: MotionNetwork, *, config: TrainConfig) -> list[dict[str, Any]]:
    stem = stem_parameters(network)
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, value in network.named_parameters():
        part = "classifier" if name.startswith("classifier.") else "stem" if name in stem else "rest"
        decays = config.decay_norm_and_bias or value.ndim > 1
        groups.setdefault((part, decays), []).append(value)
    return [
        {
            "params": values,
            "multiplier": config.multipliers[part],
            "lr": config.learning_rate * config.multipliers[part],
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (part, decays), values in groups.items()
    ]


@torch.inference_mode()
def embed_videos(
    network: MotionNetwork, motions: Iterable[tuple[str, MotionVectors]], *, variant: Mapping[str, Any]
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield (video_id, embedding (D,), logits (K,)) of each video: means over segments and crops, in eval mode.

    A forward pass holds the segments and crops of one video, so that its numbers do not depend on other videos.
    """
    fields_config = FieldConfig.from_config(variant)
    device = choose_device(variant["device"])
    network.to(device).eval()
    test = variant["test"]
    for video_id, motion in motions:
        fields = build_segments(motion, config=fields_config, num_segments=test["num_segments"], rng=None)
        crops = crop_for_test(fields, config=fields_config, crops=test["crops"], flips=test["flips"]).to(device)
        features = network.embed(crops)
        logits = network.classifier(features)
        yield video_id, as_floats(features.mean(dim=0)), as_floats(logits.mean(dim=0))
