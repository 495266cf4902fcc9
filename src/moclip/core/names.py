"""The nearest known names of a misspelled name, for error messages."""

import difflib
import re
from collections.abc import Iterable

_SEPARATORS = re.compile(r"[\s_.-]+")

# Longer names are cut: comparing two texts takes time with the product of their lengths.
_LONGEST = 120


def find_nearest(name: str, known: Iterable[str], *, number: int = 1) -> list[str]:
    """Return the known names that are nearest to a name, the nearest first.

    Letter case and separators count only between names that are equally near without them.

    >>> find_nearest("efficientnet_b00", ["efficientformer_l1", "efficientnet_b1", "efficientnet_b0"])
    ['efficientnet_b0']
    """
    wanted = _simplify(name)
    matcher = difflib.SequenceMatcher(None, "", wanted)

    def rank(other: str) -> tuple[float, float, str]:
        matcher.set_seq1(_simplify(other))
        exact = difflib.SequenceMatcher(None, other[:_LONGEST], name[:_LONGEST]).ratio()
        return -matcher.ratio(), -exact, other

    return sorted(known, key=rank)[:number]


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause that names the nearest known name."""
    found = find_nearest(name, known)
    return f"the nearest one is `{found[0]}`" if found else "there is none at all"


def _simplify(name: str) -> str:
    return _SEPARATORS.sub("", name[:_LONGEST]).casefold()
