"""Load the artifacts of a run: models, settings, classes and temperatures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from moclip.cache.tables import load_stream
from moclip.config.methods import METHODS
from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant
from moclip.core.digests import build_digest, digest_file, seal, unseal
from moclip.core.files import write_json
from moclip.core.records import check_recorded
from moclip.dataset.labels import Labels, load_labels
from moclip.dataset.manifest_table import read_table
from moclip.encoders.spec import locate_encoder
from moclip.errors import ConfigError, MoclipError, ModelError
from moclip.evaluation.calibration import Temperature, choose_temperature
from moclip.evaluation.evaluate import read_metrics
from moclip.evaluation.metrics import build_scores, expected_calibration_error
from moclip.evaluation.scoring import MethodLogits, score_method
from moclip.extraction.text import ClassEmbeddings, read_class_embeddings
from moclip.inference.quality import MeasuredMethod, describe_calibration, read_tested
from moclip.inference.settings import (
    RunRecord,
    VectorSource,
    check_weights,
    parse_vector_source,
    read_parameters,
    read_run,
)
from moclip.training.head_files import HeadFile, load_heads, read_seed_digests
from moclip.training.head_stage import check_network
from moclip.workflow.paths import locate, project_of, result_path, run_of

CALIBRATION_NAME = "calibration.json"

_CALIBRATION_FORMAT = 5

# With fewer validation videos a temperature says more of these than of the method.
MIN_VIDEOS = 20


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """All that a prediction needs, whether from a run's folder or from a bundle.

    Attributes:
        name: What to call the run.
        folder: Its folder.
        methods: The methods of the run, in the order of tables.
        class_names: Class names in the order of their indices.
        head: The file of heads, of all seeds or, in a bundle, of the run alone.
        seed: The seed of the run; None in a bundle.
        network: The file of the motion network, None where no method uses motion.
        classes: The file of class embeddings, None without zero-shot.
        appearance: Settings of the appearance variant, None where no method uses it.
        motion_network: Settings of the motion network variant, None where no method uses motion.
        motion: The source of the vectors that the network learned from, None where no method uses motion.
        temperatures: The temperature of each calibrated method.
        uncalibrated: Why methods have none, or nothing.
        tested: The test results of each method; empty for a bundle of an earlier version.
        followed: The source of the vectors that the frames follow, None where they follow none.
        inputs: The indexes of the run's features: `motion`, `appearance`; empty for a bundle.
        known_ids: Ids of the dataset's videos by their path below its root; empty for a bundle.
    """

    name: str
    folder: Path
    methods: tuple[str, ...]
    class_names: tuple[str, ...]
    head: Path
    seed: int | None
    network: Path | None
    classes: Path | None
    appearance: AppearanceVariant | None
    motion_network: MotionNetworkVariant | None
    motion: VectorSource | None
    followed: VectorSource | None
    temperatures: Mapping[str, Temperature]
    uncalibrated: str
    tested: Mapping[str, MeasuredMethod]
    inputs: Mapping[str, Path]
    known_ids: Mapping[str, str]

    def find_ids(self, path: Path) -> list[str]:
        """Return the id of a video of the dataset, where a random choice of frames follows from it; else nothing."""
        if self.appearance is None or self.appearance.frames.policy != "random":
            return []
        ends = ("/".join(path.parts[first:]) for first in range(len(path.parts)))
        return [self.known_ids[end] for end in ends if end in self.known_ids][:1]

    def describe_calibration(self, method: str) -> str:
        """Return how the percentages of a method came about, and their error on the test videos."""
        lacking = self.uncalibrated or f"{MIN_VIDEOS} or more validation videos with its features"
        return describe_calibration(self.temperatures.get(method), tested=self.tested.get(method), uncalibrated=lacking)

    def load_heads(self) -> HeadFile:
        """Return the heads of the run."""
        return load_heads(self.head, seed=self.seed)

    def load_classes(self) -> ClassEmbeddings | None:
        """Return the class embeddings of the run, None where it has none."""
        return read_class_embeddings(self.classes) if self.classes else None


def load_run(folder: Path) -> RunParts:
    """Return the parts of the run in a folder `results/<dataset>/experiments/<experiment>/split-S/seed-R`.

    Temperatures are fitted on the run's validation videos the first time and kept in `calibration.json` in the folder.
    Each file that is read is compared with the digest that its job recorded.

    Raises:
        ConfigError: This is no folder of a finished run.
        ModelError: A model is missing, or is not the one that the run was tested with.
        MoclipError: A file was edited or is damaged.
    """
    if not (folder / "run.yaml").is_file():
        raise ConfigError(
            f"{folder}: expected the folder of a finished run, such as results/demo/experiments/fusion/split-1/seed-0, "
            "or of a bundle, found no run.yaml or bundle.json there"
        )
    run, metrics = read_run(folder / "run.yaml"), read_metrics(check_recorded(folder / "metrics.json"))
    dataset, place = locate(folder.resolve() / "run.yaml", "evaluate", "run")
    motion_network = run.variant("motion_network", MotionNetworkVariant)
    appearance = run.variant("appearance", AppearanceVariant)
    inputs: dict[str, Path] = {}
    network = None
    if motion_network is not None:
        trained = {"variant": run.experiment.motion_network, "split": place["split"], "seed": place["seed"]}
        inputs["motion"] = check_recorded(result_path(dataset, "motion_embedding_index", "index", **trained))
        network = check_recorded(result_path(dataset, "motion_network", "model", **trained))
        check_network(network, motion=inputs["motion"], split=run.experiment.splits[0])
    if appearance is not None:
        inputs["appearance"] = result_path(dataset, "appearance_index", "index", variant=run.experiment.appearance)
        appearance = locate_encoder(appearance, home=project_of(dataset))
        check_weights(inputs["appearance"], variant=appearance)
    methods = tuple(name for name in metrics["methods"])
    head = result_path(dataset, "head", "heads", experiment=place["experiment"], split=place["split"])
    classes = None
    if "zero_shot" in methods:
        classes = check_recorded(result_path(dataset, "text", "classes", variant=run.experiment.text))
    _check_models(run, head=check_recorded(head), seed=int(place["seed"]), models={"network": network, "text": classes})
    parts = RunParts(
        name=run_of(folder.resolve() / "run.yaml", "evaluate", "run").name,
        folder=folder,
        methods=_in_order(methods),
        class_names=tuple(metrics["class_names"]),
        head=head,
        seed=int(place["seed"]),
        network=network,
        classes=classes,
        appearance=appearance,
        motion_network=motion_network,
        motion=_read_vector_source(dataset, variant=motion_network.motion if motion_network else ""),
        followed=_read_vector_source(dataset, variant=appearance.motion if appearance else ""),
        temperatures={},
        uncalibrated="",
        tested=read_tested(metrics),
        inputs=inputs,
        known_ids=_read_ids(result_path(dataset, "manifest", "manifest")),
    )
    return _with_temperatures(parts, dataset=dataset, split=run.experiment.splits[0])


def _check_models(run: RunRecord, *, head: Path, seed: int, models: Mapping[str, Path | None]) -> None:
    # Another experiment, or a run that was stopped, may have replaced a model since the run was tested.
    found = {head: (run.document["head"], read_seed_digests(head).get(seed))}
    found |= {path: (run.document["models"].get(name), digest_file(path)) for name, path in models.items() if path}
    for path, (expected, digest) in found.items():
        if digest != expected:
            raise ModelError(f"{path}: expected the model that {run.path} was tested with, found another; run again")


def _in_order(methods: tuple[str, ...]) -> tuple[str, ...]:
    # Shuffled motion and frames are controls, not predictions.
    return tuple(name for name in METHODS if name in methods and not name.startswith("shuffled_"))


def _read_ids(manifest: Path) -> dict[str, str]:
    return dict(read_table(check_recorded(manifest)).rows("path", "video_id")) if manifest.is_file() else {}


def _read_vector_source(dataset: Path, *, variant: str) -> VectorSource | None:
    if not variant:
        return None
    index = result_path(dataset, "motion_index", "index", variant=variant)
    return parse_vector_source(read_parameters(index), place=str(index))


def _with_temperatures(parts: RunParts, *, dataset: Path, split: int) -> RunParts:
    manifest = result_path(dataset, "manifest", "manifest")
    try:
        own = read_seed_digests(parts.head).get(parts.seed or 0)
        key = build_digest(_CALIBRATION_FORMAT, own, [digest_file(path) for path in (manifest, *parts.inputs.values())])
        stored = parts.folder / CALIBRATION_NAME
        temperatures = _read_temperatures(stored, key=key)
        if temperatures is None:
            temperatures = fit_temperatures(parts, manifest=manifest, split=split)
            _store(stored, temperatures=temperatures, key=key)
    except (MoclipError, OSError) as error:
        if isinstance(error, MoclipError) and error.damaged is not None and error.damaged.exists():
            raise
        return replace(parts, uncalibrated=f"features of validation videos ({error})")
    few = f"{MIN_VIDEOS} or more validation videos with features, and the split has fewer"
    none = "" if temperatures else few
    return replace(parts, temperatures=temperatures, uncalibrated=none)


def fit_temperatures(parts: RunParts, *, manifest: Path, split: int) -> dict[str, Temperature]:
    """Return the temperature of every method that can score 20 validation videos, fitted on their cached features.

    No model was trained on these videos: of a head that was fitted again on them (`refit`), the weights from before are
    scored. Some were chosen by them (the epoch of a head), so that confidence may still be a little high. The test
    subset takes no part in the fit; the calibration error on it is measured afterwards.
    """
    val, test = (load_labels(manifest, split=split, subset=subset) for subset in ("val", "test"))
    streams = {name: load_stream(index) for name, index in parts.inputs.items()}
    saved, classes = parts.load_heads(), parts.load_classes()
    before = {name: replace(head, state=head.selection_state) for name, head in saved.heads.items()}

    def score(method: str, labels: Labels, *, heads: HeadFile) -> MethodLogits:
        return score_method(
            method,
            labels.video_ids,
            streams=streams,
            motion_logits=partial(_motion_logits, parts),
            heads=heads,
            classes=classes,
            seed=0,
        )

    temperatures: dict[str, Temperature] = {}
    for method in parts.methods:
        scored = score(method, val, heads=replace(saved, heads=before))
        if len(scored.video_ids) >= MIN_VIDEOS:
            groups = [val.groups[video_id] for video_id in scored.video_ids]
            fitted = choose_temperature(scored.logits, val.select(scored.video_ids), groups=groups)
            error = _measure_error(score(method, test, heads=saved), labels=test, temperature=fitted.value)
            temperatures[method] = replace(fitted, test_ece=error)
    return temperatures


def _measure_error(scored: MethodLogits, *, labels: Labels, temperature: float) -> float | None:
    # The expected calibration error of a method, None without a test video that it can score.
    if not scored.video_ids:
        return None
    scores = build_scores(scored.logits / temperature, class_index=labels.select(scored.video_ids))
    return expected_calibration_error(scores).value


def _motion_logits(parts: RunParts) -> Any:
    return load_stream(parts.inputs["motion"], field="logits")


def _read_temperatures(path: Path, *, key: str) -> dict[str, Temperature] | None:
    # None where there are none, they are damaged, or they were fitted on other features or for another head.
    try:
        document = unseal(json.loads(path.read_text(encoding="utf-8")))
        if document["key"] != key:
            return None
        return {name: Temperature(**entry) for name, entry in document["temperatures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _store(path: Path, *, temperatures: Mapping[str, Temperature], key: str) -> None:
    document = {"format": _CALIBRATION_FORMAT, "key": key, "temperatures": describe_temperatures(temperatures)}
    try:
        write_json(path, seal(document))
    except OSError:
        return  # a folder that is read only: fitted again the next time, in a moment


def describe_temperatures(temperatures: Mapping[str, Temperature]) -> dict[str, dict[str, float | None]]:
    """Return temperatures ready for JSON."""
    return {name: dict(vars(entry)) for name, entry in temperatures.items()}
