"""Export a run as a bundle: one folder with everything that a prediction needs."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from moclip.config.methods import METHODS
from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant
from moclip.config.validation import AnySection, restore_section
from moclip.core.files import write_json
from moclip.core.tensors import count_values
from moclip.dataset.manifest_table import read_table
from moclip.encoders.spec import LOCAL_DIR
from moclip.errors import ConfigError, ModelError
from moclip.evaluation.calibration import Temperature
from moclip.inference.model_card import CardFacts, build_card
from moclip.inference.quality import MeasuredMethod
from moclip.inference.run import RunParts, describe_temperatures, load_run
from moclip.inference.settings import parse_vector_source, read_run, with_device
from moclip.training.head_files import save_heads
from moclip.training.head_inputs import STREAM_ORDER
from moclip.workflow.paths import locate, result_path

_log = logging.getLogger(__name__)

BUNDLE_NAME = "bundle.json"

_FORMAT = 1

_HEAD, _NETWORK, _CLASSES, _ENCODER = (
    "head.safetensors",
    "motion_network.safetensors",
    "class_embeddings.safetensors",
    "encoder",
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A bundle that was written: its folder, its bytes, and (file, difference from torch) of each ONNX model."""

    folder: Path
    num_bytes: int
    onnx: tuple[tuple[str, float], ...]


def write_bundle(run: Path, folder: Path, *, with_onnx: bool, licence: str = "") -> Exported:
    """Write the bundle of a finished run into a folder that is new or empty.

    Raises:
        ConfigError: The folder holds something already, or `run` is no finished run.
        ModelError: A model is missing, or its ONNX is not what torch computes.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: expected a new or an empty folder for the bundle, found something there")
    parts = load_run(run)
    if with_onnx:
        from moclip.inference.onnx import check_export_is_possible  # noqa: PLC0415 (torch)

        check_export_is_possible()
    folder.mkdir(parents=True, exist_ok=True)
    _copy_models(parts, folder)
    onnx = _write_onnx(parts, folder / "onnx") if with_onnx else ()
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in parts.class_names), encoding="utf-8")
    (folder / "README.md").write_text(build_card(_card_facts(parts, run, folder, licence=licence)), encoding="utf-8")
    _write_document(parts, folder, onnx=dict(onnx))
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(folder=folder, num_bytes=num_bytes, onnx=tuple(onnx))


def _copy_models(parts: RunParts, folder: Path) -> None:
    heads = parts.load_heads()
    save_heads(folder / _HEAD, heads=heads.heads, seen=heads.seen, mixes=heads.mixes, provenance=heads.provenance)
    for source, name in ((parts.network, _NETWORK), (parts.classes, _CLASSES)):
        if source is not None:
            shutil.copyfile(source, folder / name)
    if parts.appearance is not None:
        from moclip.encoders.clip import write_encoder  # noqa: PLC0415 (seconds to import)

        write_encoder(parts.appearance, folder / _ENCODER)


def _write_document(parts: RunParts, folder: Path, *, onnx: Mapping[str, float]) -> None:
    # Written last: a folder without it is no bundle.
    inside = {"model": f"{LOCAL_DIR}{_ENCODER}", "weights": "", "untrained": False}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    document = {
        "format": _FORMAT,
        "name": parts.name,
        "methods": list(parts.methods),
        "class_names": list(parts.class_names),
        "appearance": {**parts.appearance.canonical(), **inside} if parts.appearance else None,
        "motion_network": parts.motion_network.canonical() if parts.motion_network else None,
        "motion": parts.motion.describe() if parts.motion else {},
        "followed": parts.followed.describe() if parts.followed else {},
        "temperatures": describe_temperatures(parts.temperatures),
        "uncalibrated": parts.uncalibrated,
        "tested": {name: asdict(entry) for name, entry in parts.tested.items()},
        "onnx": dict(onnx),
        "files": {str(path.relative_to(folder).as_posix()): _digest(path) for path in files},
    }
    write_json(folder / BUNDLE_NAME, document)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def load_bundle(folder: Path) -> RunParts:
    """Return the parts of a bundle, each file checked against its digest.

    Raises:
        ConfigError: The folder is no bundle, or one of another format.
        ModelError: A file is missing or damaged.
    """
    path = folder / BUNDLE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ConfigError(f"{path}: expected bundle format {_FORMAT}, found {document['format']}; export it again")
        _check_files(folder, files=document["files"])
        return _parts_of(folder, document=document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: expected a bundle ({error}); export it again") from None


def _check_files(folder: Path, *, files: Mapping[str, str]) -> None:
    for name, digest in files.items():
        path = folder / name
        # The card and ONNX are for others: they may be edited or left out.
        if not name.startswith("onnx/") and path.suffix != ".md" and (not path.is_file() or _digest(path) != digest):
            raise ModelError(f"{path}: missing, or not as it was exported; copy or export the bundle again")


def _parts_of(folder: Path, *, document: Mapping[str, Any]) -> RunParts:
    place = str(folder / BUNDLE_NAME)
    appearance = _restore(AppearanceVariant, document["appearance"], place=place)
    if appearance is not None:
        appearance = appearance.model_copy(update={"model": f"{LOCAL_DIR}{folder / _ENCODER}"})
    motion_network = _restore(MotionNetworkVariant, document["motion_network"], place=place)
    motion, followed = (
        parse_vector_source(document[name], place=place) if document.get(name) else None
        for name in ("motion", "followed")
    )
    return RunParts(
        name=document["name"],
        folder=folder,
        methods=tuple(document["methods"]),
        class_names=tuple(document["class_names"]),
        head=folder / _HEAD,
        seed=None,
        network=folder / _NETWORK if motion_network else None,
        classes=folder / _CLASSES if "zero_shot" in document["methods"] else None,
        appearance=appearance,
        motion_network=motion_network,
        motion=motion,
        followed=followed,
        temperatures={name: Temperature(**entry) for name, entry in document["temperatures"].items()},
        uncalibrated=document["uncalibrated"],
        tested={name: MeasuredMethod(**entry) for name, entry in document.get("tested", {}).items()},
        inputs={},
        known_ids={},
    )


def _restore(kind: type[AnySection], found: object, *, place: str) -> AnySection | None:
    return restore_section(kind, found, place=place) if found else None


def _card_facts(parts: RunParts, run: Path, folder: Path, *, licence: str) -> CardFacts:
    record, (dataset, _) = read_run(run / "run.yaml"), locate(run.resolve() / "run.yaml", "evaluate", "run")
    noted, (split,), (seed,) = record.document, record.experiment.splits, record.experiment.seeds
    appearance = record.variant("appearance", AppearanceVariant)
    subsets = read_table(result_path(dataset, "manifest", "manifest"))[f"split_{split}"]
    return CardFacts(
        name=parts.name.split("/")[0],
        dataset=dataset.name,
        split=split,
        seed=seed,
        commit=str(noted["commit"]),
        class_names=parts.class_names,
        num_videos=Counter(subsets),
        tested=parts.tested,
        calibration={name: parts.describe_calibration(name) for name in parts.methods},
        parts=[(name, count_values(path), path.stat().st_size) for name, path in _weights_in(folder)],
        appearance=appearance.canonical() if appearance else {},
        motion_network=parts.motion_network.canonical() if parts.motion_network else {},
        motion=parts.motion.describe() if parts.motion else {},
        libraries=noted["libraries"],
        licence=licence,
    )


def _weights_in(folder: Path) -> list[tuple[str, Path]]:
    named = [("head(s)", folder / _HEAD), ("motion network", folder / _NETWORK)]
    named += [("image and text encoder", path) for path in sorted((folder / _ENCODER).glob("*.safetensors"))]
    return [(name, path) for name, path in named if path.is_file()]


def _write_onnx(parts: RunParts, folder: Path) -> tuple[tuple[str, float], ...]:
    from moclip.inference.onnx import HeadGraph, ImageGraph, MotionGraph, OnnxReport, export_onnx, has_graph  # noqa: PLC0415

    reports: list[OnnxReport] = []
    if parts.network is not None and parts.motion_network is not None:
        from moclip.encoders.motion_network import load_network  # noqa: PLC0415

        network = load_network(parts.network)
        side = parts.motion_network.input_px
        path = folder / "motion_network.onnx"
        inputs = {"fields": (2, side, side)}
        reports.append(export_onnx(MotionGraph(network), path, inputs=inputs, outputs=("embedding", "logits")))
    if parts.appearance is not None:
        from moclip.encoders.clip import load_encoder  # noqa: PLC0415

        encoder = load_encoder(with_device(parts.appearance, "cpu"))
        size = encoder.model.visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        path = folder / "image_encoder.onnx"
        graph = ImageGraph(encoder.model)
        reports.append(export_onnx(graph, path, inputs={"pictures": (3, height, width)}, outputs=("embedding",)))
    for name, saved in parts.load_heads().heads.items():
        if name not in parts.methods or not has_graph(saved):
            _log.warning("%s: a head of kind %s has no ONNX form here and is left out", name, saved.config.kind)
            continue
        used = [stream for stream in STREAM_ORDER if stream in METHODS[name].streams]
        shapes = {stream: (getattr(saved.layout, stream),) for stream in used}
        path = folder / f"head_{name}.onnx"
        reports.append(export_onnx(HeadGraph(saved), path, inputs=shapes, outputs=("logits",)))
    return tuple((report.file, report.difference) for report in reports)
