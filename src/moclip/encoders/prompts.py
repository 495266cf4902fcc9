"""Fill prompt templates with the phrases of every class."""

import re
from collections.abc import Mapping, Sequence

from moclip.core.names import find_nearest
from moclip.errors import ConfigError

# What stands for phrases where the configuration asks, in words, that class names be split into words.
FROM_CLASS_NAMES = "from_class_names"

_SLOT = "{}"

# A word begins at a capital after a small letter or digit, at the last capital of a run, and at a digit.
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])")

_SEPARATORS = re.compile(r"[\s_-]+")


def build_class_prompts(
    class_names: Sequence[str], *, templates: Sequence[str], phrases: Mapping[str, Sequence[str]] | str
) -> dict[str, tuple[str, ...]]:
    """Return the prompts of every class, in the order of the classes: each phrase in each template.

    `phrases` maps a class name to its phrases, or is `from_class_names`, which stands for `phrases_from_class_names`.
    Nothing is guessed: a class without phrases is an error. Phrases of other classes are left out.

    Raises:
        ConfigError: A template has not exactly one `{}`, a class has no phrases, or one of them is no text.
    """
    _check_templates(templates)
    if isinstance(phrases, str):
        if phrases != FROM_CLASS_NAMES:
            raise ConfigError(f"phrases: expected phrases for each class, or `{FROM_CLASS_NAMES}`; found `{phrases}`")
        phrases = phrases_from_class_names(class_names)
    prompts = {}
    for class_name in class_names:
        filled = [
            template.replace(_SLOT, phrase)
            for phrase in _find_phrases(class_name, phrases=phrases)
            for template in templates
        ]
        prompts[class_name] = tuple(filled)
    return prompts


def phrases_from_class_names(class_names: Sequence[str]) -> dict[str, list[str]]:
    """Return one phrase for each class: the words of its name, where the configuration asks for that in words."""
    return {class_name: [split_class_name(class_name)] for class_name in class_names}


def split_class_name(class_name: str) -> str:
    """Return the words of a class name in small letters: `BrushingTeeth` and `brushing_teeth` give `brushing teeth`."""
    spaced = _WORD_START.sub(" ", class_name)
    return _SEPARATORS.sub(" ", spaced).strip().lower()


def _check_templates(templates: Sequence[str]) -> None:
    if isinstance(templates, str) or not templates:
        raise ConfigError("templates: expected a list of sentences with one `{}` each, found none")
    for template in templates:
        rest = template.replace(_SLOT, "", 1) if isinstance(template, str) else None
        if rest is None or rest == template or "{" in rest or "}" in rest:
            raise ConfigError(f"templates: expected text with exactly one `{{}}`, found `{template}`; correct it")


def _find_phrases(class_name: str, *, phrases: Mapping[str, Sequence[str]]) -> list[str]:
    # YAML reads a bare number or date as such, whose text is the key that was meant.
    key = next((key for key in phrases if key == class_name or str(key) == class_name), None)
    if key is None:
        other = [key for key in phrases if not isinstance(key, str)]
        if other:  # a bare yes, null or 007 has lost its text
            raise ConfigError(
                f"phrases: expected phrases of the class `{class_name}`, found the key `{other[0]}`, which is no text; "
                f'quote keys that YAML reads as numbers, dates, null, yes or no, as in `"{class_name}": [...]`'
            )
        near = find_nearest(class_name, phrases)
        known = f"the nearest key is `{near[0]}`" if near else "there are none at all"
        raise ConfigError(f"phrases: the class `{class_name}` has no phrases; {known}; add `{class_name}: [...]`")
    found = phrases[key]
    if isinstance(found, str) or not isinstance(found, Sequence) or not found:
        raise ConfigError(f"phrases: {class_name}: expected a list of phrases, found `{found}`; write `[{found}]`")
    for phrase in found:
        if not isinstance(phrase, str) or not phrase.strip():
            raise ConfigError(f"phrases: {class_name}: expected text in every phrase, found `{phrase}`; quote it")
    return list(found)
