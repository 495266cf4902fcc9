"""The stage that trains a motion network: taken from the cache, or trained from cached motion vectors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moclip.cache.artifacts import artifact_lock, keep, read_artifact, write_files
from moclip.cache.index import index_fingerprint
from moclip.cache.rates import Meter, note_rate
from moclip.cache.uses import note_use
from moclip.config.network_settings import MotionNetworkVariant
from moclip.core.code_digest import module_path, remember_code_digest
from moclip.core.digests import build_digest, digest_file
from moclip.core.tensors import replace_note
from moclip.dataset.labels import LEARNED, Labels, load_labels
from moclip.dataset.manifest_table import list_class_names, read_table
from moclip.versions import NETWORK_VERSION

_log = logging.getLogger(__name__)

# Keys of a variant that no weight depends on, or that enter the identity by content.
_NOT_OF_TRAINING = ("motion", "weights", "embedding", "loaders")

_NAMES = ("model.safetensors", "history.tsv")


def train_network(
    output: Path,
    *,
    history: Path,
    manifest: Path,
    motion_index: Path,
    variant: MotionNetworkVariant,
    split: int,
    seed: int,
    cache_dir: Path,
) -> None:
    """Write the motion network of a split and seed and its learning curve: from the cache, or trained on cached motion.

    Equal content gives one network, for any name of variant, class or dataset. Of two jobs that need it at the same
    time, one trains and the other waits. A stopped training continues after its last whole epoch, whose state is kept
    in `cache_dir`.

    Raises:
        DatasetError: The dataset has no such split, or no training videos.
        ModelError: Backbone, weights or device are not there.
    """
    training = describe_training(
        manifest, motion_index=motion_index, variant=variant, split=split, seed=seed, cache_dir=cache_dir
    )
    outputs = dict(zip(_NAMES, (output, history), strict=True))
    with artifact_lock(cache_dir, kind="networks", key=training.key):
        found = find_network(training, cache_dir=cache_dir)
        if found is None:
            _train(training, outputs=outputs, motion_index=motion_index, variant=variant, cache_dir=cache_dir)
            _log.info("network trained")
        else:
            write_files(found, outputs=outputs)
            _log.info("network taken from the cache")
    note_use(cache_dir, output=output, kind="networks", keys=[training.key])


@dataclass(frozen=True, kw_only=True)
class Training:
    """The training of one motion network: its key in the cache, its videos, and the note of the trained network."""

    key: str
    labels: tuple[Labels, Labels]
    num_classes: int
    seed: int
    about: Mapping[str, Any]

    @property
    def num_videos(self) -> int:
        """Number of its training and validation videos."""
        return sum(len(part.video_ids) for part in self.labels)


def describe_training(
    manifest: Path, *, motion_index: Path, variant: MotionNetworkVariant, split: int, seed: int, cache_dir: Path
) -> Training:
    """Return the training of a split and seed.

    Raises:
        DatasetError: The dataset has no such split.
    """
    train, val = (load_labels(manifest, split=split, subset=subset) for subset in LEARNED)
    about: dict[str, Any] = {
        "trained_on": sorted([*train.video_ids, *val.video_ids]),
        "trained_on_groups": sorted({*train.groups.values(), *val.groups.values()}),
        "train": sorted(train.video_ids),
        "split": split,
        "seed": seed,
        "motion": index_fingerprint(motion_index, split=split, subsets=LEARNED),
    }
    num_classes = len(list_class_names(read_table(manifest)))
    key = _identity(about, labels=(train, val), num_classes=num_classes, variant=variant, cache_dir=cache_dir)
    return Training(key=key, labels=(train, val), num_classes=num_classes, seed=seed, about=about)


def find_network(training: Training, *, cache_dir: Path) -> dict[str, bytes] | None:
    """Return model and history of a network in the cache, noting the groups of its videos as they are now, or None."""
    found = read_artifact(cache_dir, kind="networks", key=training.key)
    if found is None or found.keys() != set(_NAMES):
        return None
    groups = training.about["trained_on_groups"]
    model, history = (found[name] for name in _NAMES)
    return {_NAMES[0]: replace_note(model, changes={"trained_on_groups": groups}), _NAMES[1]: history}


def rate_key(variant: MotionNetworkVariant) -> str:
    """Return the key of the rate at which networks of a variant train."""
    return build_digest(_recipe(variant))[:16]


def _train(
    training: Training,
    *,
    outputs: Mapping[str, Path],
    motion_index: Path,
    variant: MotionNetworkVariant,
    cache_dir: Path,
) -> None:
    # Imported here: a network in the cache needs none of the seconds that torch takes.
    from moclip.training.motion_files import write_network  # noqa: PLC0415

    checkpoint = cache_dir / "training" / f"{training.key}.safetensors"
    meter, resumes = Meter(), checkpoint.exists()
    meter.start()
    write_network(
        outputs[_NAMES[0]],
        history=outputs[_NAMES[1]],
        labels=training.labels,
        motion_index=motion_index,
        num_classes=training.num_classes,
        variant=variant,
        seed=training.seed,
        checkpoint=checkpoint,
        about=training.about,
    )
    meter.stop()
    files = {name: path.read_bytes() for name, path in outputs.items()}
    keep(cache_dir, kind="networks", key=training.key, files=files)
    # Only now: if the cache cannot be written, the next attempt has nothing left to train.
    checkpoint.unlink(missing_ok=True)
    if not resumes:
        meter.add(training.num_videos * variant.train.epochs)
        note_rate(cache_dir, stage="motion_network", key=rate_key(variant), meter=meter)


def _identity(
    about: Mapping[str, Any],
    *,
    labels: tuple[Labels, Labels],
    num_classes: int,
    variant: MotionNetworkVariant,
    cache_dir: Path,
) -> str:
    """Return the digest of all that a network and its learning curve depend on.

    Groups and names of classes change no weight, and are left out.
    """
    content = {name: value for name, value in about.items() if name != "trained_on_groups"}
    weights = Path(variant.weights)
    start = digest_file(weights) if weights.is_file() else variant.weights
    classes = [sorted(part.class_index.items()) for part in labels]
    libraries = [version(name) for name in ("torch", "timm", "numpy")]
    code = remember_code_digest(module_path("moclip.training.motion_network"), memo=cache_dir / "code")
    return build_digest(NETWORK_VERSION, content, classes, num_classes, _recipe(variant), start, libraries, code)


def _recipe(variant: MotionNetworkVariant) -> dict[str, Any]:
    return variant.canonical(without=set(_NOT_OF_TRAINING))
