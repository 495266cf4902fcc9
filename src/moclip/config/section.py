"""The base of all sections of the configuration, and the kinds of values that their keys take."""

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


# Without NUL, line ends and other control characters, which no path or name contains.
TEXT_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"

Text = Annotated[str, StringConstraints(pattern=TEXT_PATTERN)]
FilledText = Annotated[str, StringConstraints(pattern=TEXT_PATTERN, min_length=1)]
# Names of folders. A matrix extends names of experiments and heads, by numbers too.
VariantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
ExpandedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")]

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
