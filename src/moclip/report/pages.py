"""Render the pages of results from their templates, and name methods and numbers for them."""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from moclip.config.methods import METHODS
from moclip.errors import REJECT_REASONS

TEMPLATES = Path(__file__).parent / "templates"

# Nothing may be fetched, and no script runs but the page's own: a browser holds the page to it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_SUBSETS = ("train", "val", "test", "")

_MAX_REJECTS = 200


@cache
def read_style() -> str:
    """Return the style sheet of all pages."""
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "signed": signed,
        "label": label_of,
        "phrase": phrase_of,
        "plain": plain,
        "number": "{:,}".format,
        "points": lambda share: f"{100 * share:.1f}",
    }
    return environment


def render(template: str, **values: Any) -> str:
    """Return a template of this package filled in; text is escaped, and a name without a value is an error."""
    return _environment().get_template(template).render(**values)


def render_page(template: str, **values: Any) -> str:
    """Return a whole page, which fetches nothing. The script of the report is part of a page with `has_script`."""
    policy, script = _POLICY, ""
    if values.pop("has_script", False):
        script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = f"{_POLICY}; script-src 'sha256-{digest}'"
    return render(template, policy=policy, script=script, style=read_style(), **values)


def plain(text: object) -> Markup:
    """Return text in which nothing acts as Markdown or HTML; names come from files and folders."""
    kept = "".join(letter if letter.isprintable() else " " for letter in str(text))
    marked = str(escape(kept.replace("`", "'").replace("|", "\\|")))
    return Markup(marked.replace("&#39;", "'").replace("&#34;", '"'))  # noqa: S704 (escaped but for quotation marks)


def percent(share: float) -> str:
    """Return a share as per cent with one decimal, a dash for nan."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%" if math.isfinite(share) else "\N{EN DASH}"


def signed(points: float) -> str:
    """Return points with a sign and one decimal: +7.1, -2.6 with a true minus, 0.0.

    >>> signed(-0.04)
    '0.0'
    """
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")


def short_number(value: float) -> str:
    """Return a positive number in few letters, thousands by name.

    >>> short_number(71_300_000.0), short_number(0.2)
    ('71.3 M', '0.2')
    """
    if value < 1000:
        return f"{value:.3g}"
    for power, name in ((3, "k"), (6, "M"), (9, "G"), (12, "T")):
        if value < 999.5 * 10.0**power:
            return f"{value / 10.0**power:.3g} {name}"
    return f"{value:.0e}"


def count_of(number: int, *, one: str, many: str) -> str:
    """Return a number and its noun."""
    return f"{number:,} {one if number == 1 else many}"


def label_of(method: str) -> str:
    """Return the label of a method, its own name where it is unknown."""
    return METHODS[method].label if method in METHODS else method


def phrase_of(method: str) -> str:
    """Return the label of a method inside a sentence.

    >>> phrase_of("zero_shot")
    'zero-shot'
    """
    label = label_of(method)
    return label[:1].lower() + label[1:]


def list_splits(manifest: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns that hold the splits: split_1 and so on."""
    names = {key for row in manifest for key in row if key.startswith("split_")}
    return sorted(names, key=lambda name: (len(name), name))


def describe_dataset(manifest: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the numbers of videos by split and by class of the rows of a manifest."""
    splits = []
    for split in list_splits(manifest):
        counts = Counter(str(row.get(split) or "") for row in manifest)
        groups = len({row["group"] for row in manifest if row.get("group") and row.get(split)})
        cells = [counts[subset] for subset in _SUBSETS]
        splits.append({"name": split.removeprefix("split_"), "counts": cells, "groups": groups})
    classes = Counter((int(row["class_index"]), str(row["class_name"])) for row in manifest)
    return {"splits": splits, "classes": [[index, name, count] for (index, name), count in sorted(classes.items())]}


def describe_rejects(rejects: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the rejected videos by reason and one by one, from rows such as rejects.tsv has."""
    reasons = Counter((row["stage"], row["variant"], row["reason"]) for row in rejects)
    return {
        "reasons": [[*key, REJECT_REASONS.get(key[2], ""), count] for key, count in sorted(reasons.items())],
        "listed": [dict(row) for row in rejects[:_MAX_REJECTS]],
        "more": max(0, len(rejects) - _MAX_REJECTS),
    }
