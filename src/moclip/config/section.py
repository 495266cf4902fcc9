"""The base of all sections of the configuration, and the kinds of values that their keys take."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

T = TypeVar("T")

# Numbers up to this size have a readable name.
_LARGEST = 10**15


class Section(BaseModel):
    """A frozen section of the configuration that takes no unknown key and converts no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)

    def canonical(self, *, only: set[str] | None = None, without: set[str] | None = None) -> dict[str, Any]:
        """Return the section, or some of its keys, as JSON values: the form that enters params, row keys and digests.

        All spellings of a number give one form. A whole number is an int, so `20.0` is 20 and `-0.0` is 0.
        """
        unified: dict[str, Any] = unify_numbers(self.model_dump(mode="json", include=only, exclude=without))
        return unified


def unify_numbers(value: Any) -> Any:
    """Return a value in which every whole float, at any depth, is the int of that value."""
    if isinstance(value, dict):
        return {key: unify_numbers(below) for key, below in value.items()}
    if isinstance(value, list):
        return [unify_numbers(below) for below in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _take_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _refuse_repeated(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("repeated", "no entry twice")
    return values


def _refuse_truth(value: object) -> object:
    # In Python, True is equal to 1. As text it is equal to no number.
    return str(value) if isinstance(value, bool) else value


def _check_plain(value: object) -> object:
    is_number = isinstance(value, int | float) and abs(value) <= _LARGEST
    is_list = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    if not (is_number or is_list or isinstance(value, str)):
        raise PydanticCustomError("plain", "text, a number, `true`, `false` or a list of methods")
    return value


# Groups named by the first folders of a path, such as `folder:1`.
FOLDER_RULE = re.compile(r"folder:([1-9]\d?)")


def _check_group_rule(value: str) -> str:
    if value and not FOLDER_RULE.fullmatch(value):
        try:
            if not re.compile(value).groups:
                raise PydanticCustomError("no_group", "a pattern with a part in parentheses, which names the group")
        except re.error as error:
            raise PydanticCustomError(
                "no_pattern", "`folder:LEVEL` or a regular expression ({problem})", {"problem": str(error)}
            ) from None
    return value


# Without NUL, line ends and other control characters, which no path or name contains.
_TEXT = r"^[^\x00-\x1f\x7f-\x9f]*$"
# Names of folders. A matrix extends names of experiments and heads, by numbers too.
_VARIANT = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_EXPANDED = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$"
# The patterns of texts in words.
PATTERNS = {
    _TEXT: "text without control characters",
    _VARIANT: "a name of at most 64 letters, digits, `-` and `_` that starts with a letter or digit",
    _EXPANDED: "a name of at most 200 letters, digits, `-`, `_` and `.` that starts with a letter or digit",
}

Text = Annotated[str, StringConstraints(pattern=_TEXT)]
FilledText = Annotated[str, StringConstraints(pattern=_TEXT, min_length=1)]
GroupRule = Annotated[Text, AfterValidator(_check_group_rule)]
VariantName = Annotated[str, StringConstraints(pattern=_VARIANT)]
ExpandedName = Annotated[str, StringConstraints(pattern=_EXPANDED)]

ListOf = Annotated[tuple[T, ...], BeforeValidator(_take_list)]
Distinct = Annotated[
    tuple[T, ...],
    BeforeValidator(_take_list),
    AfterValidator(_refuse_repeated),
    Field(json_schema_extra={"uniqueItems": True}),
]
# For a Literal of integers, which would take `true` for 1.
NoTruth = BeforeValidator(_refuse_truth)
MatrixValue = Annotated[Any, AfterValidator(_check_plain)]
