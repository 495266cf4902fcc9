"""Names that open_clip and timm know, read from the files of these packages, which take seconds to import."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from moclip.core.names import find_nearest
from moclip.encoders.spec import LOCAL_DIR, local_weights
from moclip.errors import ModelError

if TYPE_CHECKING:
    from moclip.config.settings import AppearanceVariant

TIMM = "timm:"

_QUICK_GELU = "quick_gelu"

_MODEL = re.compile(r"@register_model\s+def (\w+)\(")


def check_encoder_names(
    variant: "AppearanceVariant", *, models: Sequence[str] = (), tags: Sequence[str] | None = None
) -> None:
    """Check the names of a model and of its pretrained tags, which a local folder has none of.

    `models` and `tags` are the known ones, where open_clip is imported; by default those in its files.

    Raises:
        ModelError: open_clip knows no such model, or no such tag of it; the nearest names are given.
    """
    if variant.model.startswith(LOCAL_DIR):
        return
    models = models or list_open_clip_models()
    if variant.model not in models:
        near = find_nearest(variant.model.split(":")[-1], models, number=3)
        raise ModelError(
            f"{variant.model}: no open_clip model of that name; the nearest are {', '.join(near)}; "
            "a model of your own is `local-dir:PATH`"
        )
    if tags is None:
        needed = variant.preprocess or (variant.weights and local_weights(variant) is None)
        tags = list_open_clip_tags().get(variant.model, ()) if needed else ()
    if variant.weights and local_weights(variant) is None and variant.weights not in tags:
        near = find_nearest(variant.weights, tags, number=3)
        known = f"the nearest are {', '.join(near)}" if near else "it has none; give a file"
        raise ModelError(f"{variant.model}: no weights tagged `{variant.weights}`; {known}, or correct the tag")
    if variant.preprocess and variant.preprocess not in tags:
        near = find_nearest(variant.preprocess, tags, number=3)
        raise ModelError(
            f"{variant.model}: preprocess: expected a pretrained tag, found `{variant.preprocess}`; "
            f"the nearest are {', '.join(near)}"
        )


def check_backbone(name: str, *, weights: str) -> None:
    """Check the name of a timm model, and that of its pretrained tag in weights such as `timm:TAG`.

    Raises:
        ModelError: timm knows no such model, or no such tag of it; the nearest names are given.
    """
    model = name.split(".", maxsplit=1)[0]
    source = next((text for text in _read_timm(first=model) if model in _MODEL.findall(text)), None)
    if source is None:
        models = [found for text in _read_timm() for found in _MODEL.findall(text)]
        near = ", ".join(find_nearest(model, models, number=3))
        raise ModelError(f"{name}: no timm model of that name; the nearest are {near}")
    tag = weights.removeprefix(TIMM)
    tags = re.findall(rf"""['"]{re.escape(model)}\.([\w.-]+)['"]""", source)
    # Some tags are made in a loop and are not written out next to the name of their model.
    is_written = re.search(rf"\b{re.escape(tag)}(?![\w.-])", source)
    if tag != weights and tags and not is_written:
        near = ", ".join(find_nearest(tag, tags, number=3))
        raise ModelError(f"{name}: no weights tagged `{tag}`; the nearest are {near}")


@cache
def list_open_clip_models() -> tuple[str, ...]:
    """Return the names of all models of open_clip, sorted."""
    return tuple(sorted(path.stem for path in (_folder_of("open_clip") / "model_configs").glob("*.json")))


@cache
def list_open_clip_tags() -> Mapping[str, tuple[str, ...]]:
    """Return the pretrained tags of each model of open_clip that has some."""
    tree = ast.parse((_folder_of("open_clip") / "pretrained.py").read_text(encoding="utf-8"))
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    tags: dict[str, tuple[str, ...]] = {}
    models = values.get("_PRETRAINED")
    for key, value in zip(models.keys, models.values, strict=True) if isinstance(models, ast.Dict) else ():
        listed = values.get(value.id) if isinstance(value, ast.Name) else value
        if isinstance(key, ast.Constant) and isinstance(listed, ast.Call):
            model = str(key.value)
            tags[model] = tuple(str(entry.arg) for entry in listed.keywords)
            quick = tuple(str(entry.arg) for entry in listed.keywords if _is_quick(entry.value))
            tags |= {f"{model}-quickgelu": quick} if quick else {}
    return tags


def _is_quick(value: ast.expr) -> bool:
    # A twin of each model has the function QuickGELU, and the tags that were trained with it.
    marks = value.keywords if isinstance(value, ast.Call) else []
    return any(mark.arg == _QUICK_GELU and isinstance(mark.value, ast.Constant) and mark.value.value for mark in marks)


def _read_timm(*, first: str = "") -> Iterator[str]:
    # A model is mostly in the file of its family, so that files with a part of its name come first.
    paths = sorted((_folder_of("timm") / "models").glob("*.py"))
    for path in sorted(paths, key=lambda path: path.stem.split("_")[0] not in first):
        yield path.read_text(encoding="utf-8")


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelError(f"{package}: the package is not installed; install the project's requirements again")
    return Path(spec.origin).parent
