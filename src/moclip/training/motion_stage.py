"""The stage that trains a motion network: taken from the cache, or trained from cached motion vectors."""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moclip.cache.artifacts import artifact_lock, keep, read_artifact, write_files
from moclip.cache.index import index_fingerprint
from moclip.cache.uses import note_use
from moclip.config.network_settings import MotionNetworkVariant
from moclip.core.cache_folder import claim_folder
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
    outputs = dict(zip(_NAMES, (output, history), strict=True))
    with artifact_lock(cache_dir, kind="networks", key=key):
        if not _restore(outputs, groups=about["trained_on_groups"], cache_dir=cache_dir, key=key):
            # Imported here: a network in the cache needs none of the seconds that torch takes.
            from moclip.training.motion_files import write_network  # noqa: PLC0415

            checkpoint = claim_folder(cache_dir, "training") / f"{key}.safetensors"
            write_network(
                output,
                history=history,
                labels=(train, val),
                motion_index=motion_index,
                num_classes=num_classes,
                variant=variant,
                seed=seed,
                checkpoint=checkpoint,
                about=about,
            )
            files = {name: path.read_bytes() for name, path in outputs.items()}
            keep(cache_dir, kind="networks", key=key, files=files)
            # Only now: if the cache cannot be written, the next attempt has nothing left to train.
            checkpoint.unlink(missing_ok=True)
            _log.info("network trained")
    note_use(cache_dir, output=output, kind="networks", keys=[key])


def _restore(outputs: Mapping[str, Path], *, groups: Sequence[str], cache_dir: Path, key: str) -> bool:
    """Write a network from the cache, noting the groups of its videos as they are now; return True if it is there."""
    found = read_artifact(cache_dir, kind="networks", key=key)
    if found is None or found.keys() != outputs.keys():
        return False
    model = replace_note(found[_NAMES[0]], changes={"trained_on_groups": groups})
    write_files({**found, _NAMES[0]: model}, outputs=outputs)
    _log.info("network taken from the cache")
    return True


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
    recipe = {key: value for key, value in variant.canonical().items() if key not in _NOT_OF_TRAINING}
    weights = Path(variant.weights)
    start = digest_file(weights) if weights.is_file() else variant.weights
    classes = [sorted(part.class_index.items()) for part in labels]
    libraries = [version(name) for name in ("torch", "timm", "numpy")]
    code = remember_code_digest(module_path("moclip.training.motion_network"), memo=cache_dir / "code")
    return build_digest(NETWORK_VERSION, content, classes, num_classes, recipe, start, libraries, code)
