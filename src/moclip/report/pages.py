"""Render the pages of results from their templates, and name methods and numbers for them."""

import base64
import hashlib
import math
import re
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

_SUBSETS = {"Train": "train", "Validation": "val", "Test": "test", "Unused": ""}

# Columns of differences, which have a sign.
_POINTS = {"points", "low", "high", "gain", "confidence_less_accuracy"}

_MAX_REJECTS = 200


@cache
def read_style() -> str:
    """Return the style sheet of all pages."""
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")


def read_colors() -> dict[str, str]:
    """Return the light color of each name in the style sheet."""
    # The dark colors come after the light ones.
    return dict(reversed(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", read_style())))


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
        "heading": heading_of,
        "cell": cell_of,
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
    return in_sentence(label_of(method))


def heading_of(column: str) -> str:
    """Return the heading of a column of a table.

    >>> heading_of("zero_shot_percent"), heading_of("num_groups"), heading_of("Top-1 %")
    ('Zero-shot %', 'Num groups', 'Top-1 %')
    """
    name = column.removesuffix("_percent")
    words = label_of(name) if name in METHODS else name[:1].upper() + name[1:].replace("_", " ")
    return words + " %" * (name != column)


def cell_of(value: object, column: str) -> str:
    """Return the text of a cell: points with a sign, per cent with one decimal, large numbers with commas."""
    if column == "method":
        return label_of(str(value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, float):
        is_share = column.endswith(("_percent", "%"))
        return signed(value) if column in _POINTS else f"{value:.1f}" if is_share else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def in_sentence(label: str) -> str:
    """Return a label inside a sentence: `frame rate`, but `GOP length`."""
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def list_splits(manifest: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns that hold the splits: split_1 and so on."""
    names = {key for row in manifest for key in row if key.startswith("split_")}
    return sorted(names, key=lambda name: (len(name), name))


def describe_dataset(manifest: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return tables of the numbers of videos by split and by class, from the rows of a manifest."""
    splits = []
    for split in list_splits(manifest):
        counts = Counter(str(row.get(split) or "") for row in manifest)
        groups = len({row["group"] for row in manifest if row.get("group") and row.get(split)})
        cells = {name: counts[subset] for name, subset in _SUBSETS.items()}
        splits.append({"Split": split.removeprefix("split_"), **cells, "Groups": groups or None})
    classes = Counter((int(row["class_index"]), str(row["class_name"])) for row in manifest)
    rows = [{"Index": index, "Class": name, "Videos": count} for (index, name), count in sorted(classes.items())]
    return {"splits": splits, "classes": rows}


def describe_rejects(rejects: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return tables of the rejected videos by reason and one by one, from rows such as rejects.tsv has."""
    reasons = Counter((f"{row['stage']}/{row['variant']}", row["reason"]) for row in rejects)
    return {
        "reasons": [
            {"Stage": stage, "Reason": reason, "Meaning": REJECT_REASONS.get(reason, ""), "Videos": count}
            for (stage, reason), count in sorted(reasons.items())
        ],
        "listed": [
            {heading_of(name): row[name] for name in ("video_id", "stage", "reason", "detail")}
            for row in rejects[:_MAX_REJECTS]
        ],
        "more": max(0, len(rejects) - _MAX_REJECTS),
    }
