"""Check a configuration: parse it, expand matrices, resolve references, and report all errors at once."""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from moclip.config.experiments import REFERENCES, expand_matrices
from moclip.config.head_kinds import HEAD_KINDS
from moclip.config.methods import METHODS
from moclip.config.section import PATTERNS, Section
from moclip.config.settings import RENAMED, Settings
from moclip.core.names import find_nearest, suggest_nearest
from moclip.errors import ConfigError

AnySection = TypeVar("AnySection", bound=Section)

# Characters of a value that a message shows.
_LONGEST = 120

# So many words are read at a glance; of more, the nearest is named.
_FEW = 4

# What was expected, by the type of pydantic's error; the numbers and words in its context are filled in.
_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "`true` or `false`",
    "string_type": "text",
    "string_unicode": "text without halves of characters",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "invalid_key": "a key that is text",
    "too_short": "at least {min_length} entry",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:.12g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:.12g}",
}
_SEVERAL_FILES = (
    "; files of --configfile replace config/config.yaml and are merged with each other: name a complete configuration "
    "first, as in --configfile config/config.yaml mine.yaml"
)


def check_config(config: Mapping[str, Any], *, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of a configuration, with all defaults and with every matrix of experiments expanded.

    `overrides` is the part of it from Snakemake's `--config`, which turns every value below the first level into text.
    Such a value takes the type that its key has.

    Raises:
        ConfigError: A key is unknown (the message names the nearest known key), missing, of another type or out of
            range. A reference names no entry, a method lacks what it needs, or a split cannot exist. All errors are
            reported, a line each.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"config: expected a mapping of keys, found {_show(config)}; see config/README.md")
    settings = _use_all_folds(_parse(_restore_types(config, overrides=overrides or {})))
    if any(experiment.matrix for experiment in settings.experiments.values()):
        settings = _parse(expand_matrices(settings.canonical()))
    checks = (_check_dataset, _check_references, _check_frames, _check_experiments, _check_heads)
    _raise_all(error for check in checks for error in check(settings))
    return settings


def _restore_types(config: Mapping[str, Any], *, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    errors = _list_errors(config) if overrides else []
    texts = [error["loc"] for error in errors if isinstance(error["input"], str)]
    places = [place for place in texts if isinstance(_find_value(overrides, place), str)]
    if not places:
        return config
    restored = copy.deepcopy(dict(config))
    for *above, key in places:
        owner: Any = _find_value(restored, above)
        text = owner[key].strip()
        with suppress(ValueError):
            owner[key] = json.loads(text.lower() if text in ("True", "False") else text)
    return restored


def _find_value(document: Any, place: Sequence[int | str]) -> Any:
    # Returns None where the document has no such place.
    for part in place:
        try:
            document = document[part]
        except (LookupError, TypeError):
            return None
    return document


def _use_all_folds(settings: Settings) -> Settings:
    # An experiment that names no splits runs on all folds.
    folds = tuple(range(1, settings.dataset.splits.folds + 1))
    if not folds:
        return settings
    experiments = {
        name: entry if "splits" in entry.model_fields_set else entry.model_copy(update={"splits": folds})
        for name, entry in settings.experiments.items()
    }
    return settings.model_copy(update={"experiments": experiments})


def merge_configs(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several configurations as one. Mappings are merged at every depth; for other values the last one counts.

    >>> merge_configs([{"dataset": {"name": "a", "root": "videos"}}, {"dataset": {"root": "/data"}}])
    {'dataset': {'name': 'a', 'root': '/data'}}
    """
    merged: dict[str, Any] = {}
    for document in documents:
        for key, value in document.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = merge_configs([merged[key], value]) if both else value
    return merged


def restore_section(kind: type[AnySection], document: object, *, place: str) -> AnySection:
    """Return the section that was stored as `Section.canonical` returned it.

    Raises:
        ConfigError: A key is missing or unknown, or a value is invalid; the message starts with `place`.
    """
    try:
        section = kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"{_join(first['loc'])}: {first['msg']}"
    else:
        missing = next(_list_missing(section.canonical(), document), "")
        if not missing:
            return section
        problem = f"the key `{missing}` is missing"
    raise ConfigError(
        f"{place}: expected the settings of this version of moclip, found others ({problem}); make it again"
    )


def _list_missing(expected: Mapping[str, Any], found: Any, *, above: str = "") -> Iterator[str]:
    for key, value in expected.items():
        if key not in found:
            yield f"{above}{key}"
        elif isinstance(value, dict):
            yield from _list_missing(value, found[key], above=f"{above}{key}.")


def _list_errors(config: Mapping[str, Any]) -> list[ErrorDetails]:
    try:
        Settings.model_validate(dict(config))
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _parse(config: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(dict(config))
    except ValidationError as error:
        found = error.errors(include_url=False)
    # The missing keys of the top level come last, before what they have in common.
    errors = sorted(
        _drop_repeated(found), key=lambda error: (_is_missing_section(error), [str(part) for part in error["loc"]])
    )
    lines = [_describe(error) for error in errors]
    if _is_missing_section(errors[-1]):
        lines[-1] += _SEVERAL_FILES
    _raise_all(lines)
    raise AssertionError("a failed validation has errors")


def _raise_all(errors: Iterable[str]) -> None:
    lines = [f"config: {error}" for error in errors]
    if lines:
        raise ConfigError("\n".join(lines))


def _drop_repeated(errors: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    # A list whose entries are wrong is too short as well, without them.
    for error in errors:
        place = error["loc"]
        below = any(other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in errors)
        if not (error["type"] == "too_short" and below):
            yield error


def _is_missing_section(error: ErrorDetails) -> bool:
    return error["type"] == "missing" and len(error["loc"]) == 1


def _describe(error: ErrorDetails) -> str:
    *above, last = error["loc"]
    if error["type"] == "extra_forbidden":
        return f"{_join(above)}: {_describe_unknown(str(last), section=_section_at(above))}"
    if error["type"] == "missing":
        return f"{_join(above)}: the key `{last}` is missing; see config/README.md"
    place = above[:-1] if last == "[key]" else above if error["type"] == "invalid_key" else error["loc"]
    return f"{_join(place)}: expected {_expected(error)}; found {_show(error['input'])}{_hint(error)}"


def _join(place: Sequence[int | str]) -> str:
    return ".".join(_clean(str(part)) for part in place) or "top level"


def _describe_unknown(key: str, *, section: type[Section]) -> str:
    renamed = RENAMED.get((section, key))
    if renamed:
        return f"the key `{key}` is named `{renamed}` now; rename it"
    return f"unknown key `{_clean(key)}`; the nearest known key is `{find_nearest(key, section.model_fields)[0]}`"


def _section_at(place: Sequence[int | str]) -> type[Section]:
    found: Any = Settings
    for part in place:
        found = get_args(found)[1] if get_origin(found) is dict else found.model_fields[part].annotation
    section: type[Section] = found
    return section


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "literal_error":
        return f"one of {context['expected'].replace(' or ', ', ').replace(chr(39), '')}"
    if error["type"] == "string_pattern_mismatch":
        return PATTERNS[context["pattern"]]
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]].format(**context)
    return error["msg"]


def _clean(text: str) -> str:
    shown = text if text.isprintable() and text.isascii() else ascii(text)
    return shown[:_LONGEST]


def _show(value: Any) -> str:
    # In ASCII and of limited length, so that no value of the file breaks the line.
    if isinstance(value, int) and abs(value) > 10**_LONGEST:
        return "a number of very many digits"
    text = ascii(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _hint(error: ErrorDetails) -> str:
    value = error["input"]
    if error["type"] == "literal_error" and isinstance(value, str) and value:
        known = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"; {suggest_nearest(value, known)}" if len(known) > _FEW else ""
    is_numeric = isinstance(value, str) and value.replace(".", "").replace("-", "").replace("e", "").isdigit()
    if is_numeric and error["type"] in {"int_type", "float_type"}:
        return " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3)"
    return ""


# Layouts whose lists name the test videos of every split.
_WITH_SPLITS = ("ucf101", "hmdb51")


def _check_dataset(settings: Settings) -> Iterator[str]:
    dataset, folds = settings.dataset, settings.dataset.splits.folds
    if folds == 1:
        yield "dataset.splits.folds: expected 2 folds or more, or 0 for one test set, found 1"
    if dataset.layout in _WITH_SPLITS and folds:
        yield f"dataset.splits.folds: the lists of `{dataset.layout}` bring splits; drop the key"
    if dataset.layout in _WITH_SPLITS and dataset.near_duplicates.keep_together:
        yield (
            f"dataset.near_duplicates.keep_together: the lists of `{dataset.layout}` bring splits, in which the data "
            "card reports near-duplicates; drop the key"
        )
    for name, experiment in settings.experiments.items():
        if folds and max(experiment.splits) > folds:
            yield (
                f"experiments.{name}.splits: expected splits from 1 to {folds}, one for each of the folds in "
                f"dataset.splits; found {max(experiment.splits)}"
            )


def _check_references(settings: Settings) -> Iterator[str]:
    for section, keys in REFERENCES.items():
        for name, entry in getattr(settings, section).items():
            for key, target in keys.items():
                variant, known = getattr(entry, key), list(getattr(settings, target))
                if variant and variant not in known:
                    hint = suggest_nearest(variant, known) if known else f"`{target}` is empty"
                    yield f"{section}.{name}.{key}: expected a variant of `{target}`, found `{variant}`; {hint}"


def _check_frames(settings: Settings) -> Iterator[str]:
    for name, variant in settings.appearance.items():
        follows = variant.frames.policy == "motion"
        if follows != bool(variant.motion):
            found = f"`{variant.motion}`; drop it" if variant.motion else "none; name a variant of `motion`"
            expected = "the motion that the frames follow" if follows else "no motion, which no frame follows here"
            yield f"appearance.{name}.motion: expected {expected}, found {found}"


def _keys_of_other_kinds(kind: str) -> set[str]:
    return {key for other in HEAD_KINDS.values() for key in other.options} - HEAD_KINDS[kind].options.keys()


def _check_heads(settings: Settings) -> Iterator[str]:
    for name, head in settings.head.items():
        kind = HEAD_KINDS[head.kind]
        if kind.frames and head.pooling != "mean":
            yield f"head.{name}.pooling: `{head.kind}` pools the frames itself; leave `mean`"
        if not kind.epochs and head.views:
            yield f"head.{name}.views: `{head.kind}` has no epochs to draw views in; leave `false`"
        for key in _keys_of_other_kinds(head.kind) & head.model_fields_set:
            kinds = ", ".join(f"`{name}`" for name, other in HEAD_KINDS.items() if key in other.options)
            yield f"head.{name}.{key}: `{head.kind}` does not read this key, only {kinds} does; drop it"
        if kind.candidates and head.select == "last" and len(getattr(head, kind.candidates)) > 1:
            yield f"head.{name}.{kind.candidates}: `select: last` chooses none of them; list one"
    for name, experiment in settings.experiments.items():
        used, network = settings.head.get(experiment.head), settings.motion_network.get(experiment.motion_network)
        if used and network and used.views and not network.embedding.views.count:
            yield (
                f"experiments.{name}: its head draws views of motion and there are none; "
                f"set `motion_network.{experiment.motion_network}.embedding.views.count`"
            )


def _check_experiments(settings: Settings) -> Iterator[str]:
    for name, experiment in settings.experiments.items():
        needs = dict.fromkeys(needed for method in experiment.methods for needed in METHODS[method].needs)
        for needed in needs:
            methods = [f"`{method}`" for method in experiment.methods if needed in METHODS[method].needs]
            if not getattr(experiment, needed):
                subject = f"method {methods[0]} needs" if len(methods) == 1 else f"methods {', '.join(methods)} need"
                them = "it" if len(methods) == 1 else "them"
                yield (
                    f"experiments.{name}: the key `{needed}` is missing, and the {subject} it; "
                    f"name a variant of `{needed}`, or drop {them} from `methods`"
                )
        head = settings.head.get(experiment.head)
        if "shuffled_frames" in experiment.methods and head and not HEAD_KINDS[head.kind].frames:
            yield (
                f"experiments.{name}: the method `shuffled_frames` needs a head that reads every frame, "
                f"`{experiment.head}` is of the kind `{head.kind}`; drop the method or name another head"
            )
        text = settings.text.get(experiment.text)
        if text and text.appearance != experiment.appearance:
            yield (
                f"experiments.{name}.text: expected class embeddings from the encoder of `appearance`, "
                f"`{experiment.appearance}`; `{experiment.text}` is from `{text.appearance}`"
            )
