"""How each method looks on every page: its name, its mark, its key in a legend. Pure."""

from collections.abc import Iterable
from html import escape

from moclip.methods import METHODS
from moclip.svg import shape_key

# Told apart by shape as well as by colour, so that they are read without colours too.
SHAPE_OF = {
    "zero_shot": "ring",
    "zero_shot_head": "cross",
    "motion": "triangle",
    "motion_head": "hollow_triangle",
    "appearance": "square",
    "shuffled_motion": "diamond",
    "score_fusion": "hollow_square",
    "fusion": "circle",
}


def label_of(method: str) -> str:
    """Return what a method is called, its own name where it is unknown."""
    return METHODS[method].label if method in METHODS else method


def phrase_of(method: str) -> str:
    """Return what a method is called inside a sentence.

    >>> phrase_of("zero_shot")
    'zero-shot'
    """
    label = label_of(method)
    return label[:1].lower() + label[1:]


def build_key(methods: Iterable[str]) -> str:
    """Return the legend of some methods: mark and name of each."""
    keys = "".join(
        f'<li class="{escape(name)}">{shape_key(SHAPE_OF.get(name, "circle"), style=name)}'
        f"<span>{escape(label_of(name))}</span></li>"
        for name in methods
    )
    return f'<ul class="legend">{keys}</ul>'
