"""Zero-shot classification with classes that the user describes, on cached features or new videos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.cache.tables import load_stream, pool_frames
from moclip.core.files import read_yaml
from moclip.core.numerics import rank_classes, softmax
from moclip.encoders.prompts import build_class_prompts
from moclip.encoders.zero_shot import zero_shot_logits
from moclip.errors import ConfigError
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Video, finished_rows
from moclip.inference.settings import AppearanceSource

Floats = NDArray[np.float32]

DEFAULT_TEMPLATES = ("a photo of {}.", "a video of {}.")


@dataclass(frozen=True, kw_only=True)
class OwnLabel:
    """What a video was taken for: (class, probability) pairs, best first; or the reason why there is none."""

    video_id: str
    top: tuple[tuple[str, float], ...]
    reason: str = ""
    detail: str = ""


def read_templates(path: Path | None) -> tuple[str, ...]:
    """Return the sentences to put a class into: those of a text file, a line each, or of a YAML list `templates`.

    Raises:
        ConfigError: The file is missing or of another form.
    """
    if path is None:
        return DEFAULT_TEMPLATES
    if path.suffix in {".yaml", ".yml", ".json"}:
        document = read_yaml(path)
        if not isinstance(document.get("templates"), list):
            raise ConfigError(f"{path}: expected a list under the key `templates`, found {document.get('templates')!r}")
        return tuple(map(str, document["templates"]))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected templates, a line each ({error})") from None
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def parse_classes(text: str) -> tuple[str, ...]:
    """Return the classes of a list with commas.

    Raises:
        ConfigError: There are fewer than two, or one twice.

    >>> parse_classes("doing lunges, brushing teeth")
    ('doing lunges', 'brushing teeth')
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"--classes: expected two or more different classes with commas between, found {text!r}")
    return names


def embed_classes(
    source: AppearanceSource, class_names: Sequence[str], *, templates: Sequence[str], device: str = ""
) -> Floats:
    """Return one unit embedding for each class, (K, D), its words put into every template as they are."""
    from moclip.encoders.clip import build_class_embeddings, load_encoder  # noqa: PLC0415 (seconds to import)

    prompts = build_class_prompts(class_names, templates=templates, phrases={name: [name] for name in class_names})
    return build_class_embeddings(load_encoder(source.on(device)), prompts)


def classify_cached(
    source: AppearanceSource, class_names: Sequence[str], *, classes: Floats, num_best: int
) -> Iterator[OwnLabel]:
    """Yield the label of every video of a dataset from its cached features, sorted by id, the rejected ones too."""
    stream = load_stream(source.index)
    ids = sorted(stream.rows)
    labels = dict(zip(ids, _label(stream.select(ids), classes=classes, num_best=num_best), strict=True))
    for video_id in sorted([*ids, *stream.rejected]):
        if video_id in stream.rejected:
            yield OwnLabel(video_id=video_id, top=(), reason=stream.rejected[video_id])
        else:
            yield OwnLabel(video_id=video_id, top=_name(labels[video_id], class_names))


def classify_files(
    source: AppearanceSource,
    class_names: Sequence[str],
    *,
    paths: Sequence[Path],
    classes: Floats,
    num_best: int,
    device: str = "",
) -> Iterator[OwnLabel]:
    """Yield the label of every file, its frames chosen and embedded as the dataset's, as they finish."""
    extractor = build_appearance_extractor(source.on(device))
    videos = [Video(video_id=str(path), path=path, fingerprint="") for path in paths]
    for row in finished_rows(extractor, videos):
        if row.reject_reason:
            yield OwnLabel(video_id=row.video_id, top=(), reason=row.reject_reason, detail=row.reject_detail)
        else:
            values = np.asarray(row.values["embedding"], np.float32)
            pooled = pool_frames(values, offsets=np.array([0, len(values)]))
            label = _label(pooled, classes=classes, num_best=num_best)[0]
            yield OwnLabel(video_id=row.video_id, top=_name(label, class_names))


def _label(images: Floats, *, classes: Floats, num_best: int) -> list[list[tuple[int, float]]]:
    logits = zero_shot_logits(images, classes)
    ranked, probabilities = rank_classes(logits)[:, :num_best], softmax(logits)
    return [
        [(int(index), float(row[index])) for index in best] for best, row in zip(ranked, probabilities, strict=True)
    ]


def _name(label: Sequence[tuple[int, float]], class_names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple((class_names[index], probability) for index, probability in label)
