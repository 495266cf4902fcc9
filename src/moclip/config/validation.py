"""Check a configuration against its schema, fill in defaults and resolve references."""

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from moclip.config.experiments import REFERENCES, Section, expand_matrices
from moclip.config.methods import METHODS
from moclip.errors import ConfigError

# Characters of a value that a message shows.
_LONGEST = 120

# What is in no path and no name: NUL, line ends, other control characters, halves of characters.
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_LARGEST = 1e15

_NUMBER_AS_TEXT = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")


def _is_integer(checker: object, value: object) -> bool:
    # 4.0 is an integer to JSON Schema, and no number of shards to Python.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_number(checker: object, value: object) -> bool:
    # YAML has `.nan`, which is below no maximum and above no minimum, and integers too large to compute with.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_text(checker: object, value: object) -> bool:
    return isinstance(value, str) and not _NO_TEXT.search(value)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    .redefine("number", _is_number)
    .redefine("string", _is_text),
)


def check_config(config: Section, *, schema: Section) -> dict[str, Any]:
    """Return the configuration with every default filled in and every matrix of experiments multiplied out.

    Spellings of one number give one configuration: a whole number is an int, so that `20.0` is 20 and `-0.0` is 0.

    Raises:
        ConfigError: A key is unknown (the nearest known one is named), missing, of another type or out of range; a
            reference names no entry; a method lacks what it needs. All errors are reported at once, a line each.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"config: expected a mapping of keys, found {_show(config)}; see config/README.md")
    complete: dict[str, Any] = _fill_defaults(copy.deepcopy(dict(config)), schema=schema, root=schema)
    faults = [_say(fault) for fault in _leaves(_Validator(schema).iter_errors(complete))]
    if not faults:
        # After validation, which accepts no `num_shards: 4.0`; before the matrix, whose values become names.
        complete = _unify_numbers(complete)
    if not faults and any("matrix" in entry for entry in complete["experiments"].values()):
        complete = expand_matrices(complete)
        faults = [_say(fault) for fault in _leaves(_Validator(schema).iter_errors(complete))]
    checks = (_check_references, _check_frames, _check_experiments, _check_heads)
    faults = faults or [fault for check in checks for fault in check(complete)]
    if faults:
        raise ConfigError("\n".join(f"config: {fault}" for fault in faults))
    return complete


def _resolve(schema: Section, *, root: Section) -> Section:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        target: Section = root["$defs"][name]
        return target
    return schema


def _fill_defaults(value: Any, *, schema: Section, root: Section) -> Any:
    schema = _resolve(schema, root=root)
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    for key, below in properties.items():
        resolved = _resolve(below, root=root)
        if key not in value and "default" in resolved:
            value[key] = copy.deepcopy(resolved["default"])
        if key in value:
            value[key] = _fill_defaults(value[key], schema=below, root=root)
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping):
        for key in value.keys() - properties.keys():
            value[key] = _fill_defaults(value[key], schema=others, root=root)
    return value


def _unify_numbers(value: Any) -> Any:
    """Return a value in which every whole float, at any depth, is the int of that value."""
    if isinstance(value, dict):
        return {key: _unify_numbers(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_unify_numbers(below) for below in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _leaves(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        if error.context:
            yield min(error.context, key=lambda below: (below.validator == "type", -len(below.absolute_path)))
        else:
            yield error


def _say(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path) or "top level"
    rule: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        known = sorted(schema.get("properties", {}))
        unknown = sorted(map(str, set(instance) - set(known)))[0]
        shown = unknown if unknown.isprintable() and unknown.isascii() else ascii(unknown)
        return f"{place}: unknown key `{shown[:_LONGEST]}`; {_nearest(unknown[:_LONGEST], known)}"
    if error.validator == "required":
        missing = next(key for key in rule if key not in instance)
        return f"{place}: the key `{missing}` is missing; see config/README.md"
    if error.validator == "enum":
        return f"{place}: expected one of {', '.join(map(str, rule))}; found {_show(instance)}"
    return f"{place}: expected {_expected(error)}; found {_show(instance)}{_hint(error)}"


def _show(value: Any) -> str:
    # In ASCII and of limited length, so that no value of the file breaks the line.
    if isinstance(value, int) and abs(value) > 10**_LONGEST:
        return "a number of very many digits"
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _expected(error: ValidationError) -> str:
    words = {
        "type": "a value of type",
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "more than",
        "exclusiveMaximum": "less than",
        "pattern": "text that matches",
        "minItems": "at least this many entries:",
        "minLength": "text that is not empty, minLength",
        "minProperties": "at least this many entries:",
        "uniqueItems": "no entry twice, uniqueItems:",
    }
    named = words.get(str(error.validator), str(error.validator))
    return f"{named} {error.validator_value}"


def _hint(error: ValidationError) -> str:
    looks_numeric = (
        isinstance(error.instance, str) and error.instance.replace(".", "").replace("-", "").replace("e", "").isdigit()
    )
    if error.validator == "type" and looks_numeric:
        return " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3)"
    return ""


def _nearest(unknown: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(unknown, known, n=1, cutoff=0.0)
    return f"the nearest known key is `{close[0]}`" if close else f"known keys: {', '.join(known)}"


def _check_references(config: Section) -> Iterator[str]:
    for section, keys in REFERENCES.items():
        for name, entry in config[section].items():
            for key, target in keys.items():
                variant = entry.get(key)
                if variant and variant not in config[target]:
                    near = difflib.get_close_matches(variant, list(config[target]), n=1, cutoff=0.0)
                    known = f"; the nearest one is `{near[0]}`" if near else f"; `{target}` is empty"
                    yield f"{section}.{name}.{key}: expected a variant of `{target}`, found `{variant}`{known}"


def _check_frames(config: Section) -> Iterator[str]:
    for name, variant in config["appearance"].items():
        follows = variant["frames"]["policy"] == "motion"
        if follows != bool(variant["motion"]):
            found = f"`{variant['motion']}`; drop it" if variant["motion"] else "none; name a variant of `motion`"
            expected = "the motion that the frames follow" if follows else "no motion, which no frame follows here"
            yield f"appearance.{name}.motion: expected {expected}, found {found}"


def _check_heads(config: Section) -> Iterator[str]:
    for name, head in config["head"].items():
        if head["kind"] == "attention" and head["pooling"] != "mean":
            yield f"head.{name}.pooling: `attention` pools the frames itself; leave `mean`"
        if head["kind"] == "knn" and head["views"]:
            yield f"head.{name}.views: `knn` has no epochs to draw views in; leave `false`"
    for name, experiment in config["experiments"].items():
        head, network = (config[part].get(experiment.get(part), {}) for part in ("head", "motion_network"))
        if head.get("views") and network and not network["test"]["views"]["count"]:
            yield (
                f"experiments.{name}: its head draws views of motion and there are none; "
                f"set `motion_network.{experiment['motion_network']}.test.views.count`"
            )


def _check_experiments(config: Section) -> Iterator[str]:
    for name, experiment in config["experiments"].items():
        for method in experiment["methods"]:
            for needed in METHODS[method].needs:
                if not experiment.get(needed):
                    yield (
                        f"experiments.{name}: the method `{method}` needs the key `{needed}`; "
                        "name a variant or drop the method"
                    )
        text = experiment.get("text")
        if text in config["text"] and config["text"][text]["appearance"] != experiment.get("appearance"):
            other = config["text"][text]["appearance"]
            yield (
                f"experiments.{name}.text: expected class embeddings from the encoder of `appearance`, "
                f"`{experiment.get('appearance')}`; `{text}` is from `{other}`"
            )
