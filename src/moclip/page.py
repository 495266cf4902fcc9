"""What every page is made of: its frame, tables, and what it says of a dataset's videos. HTML out of values. Pure."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from moclip.errors import REJECT_REASONS
from moclip.report_style import STYLE

# The heading above a column of `svg.strip`.
PERCENT_AXIS = '<div class="axis"><i>0</i><i>25</i><i>50</i><i>75</i><i>100 %</i></div>'
_SUBSETS = ("train", "val", "test")
_MAX_REJECTS = 200
_DASH = "\N{EN DASH}"
# Nothing may be fetched: a browser holds the page to it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def build_page(title: str, *, body: Sequence[str], style: str = "") -> str:
    """Return a whole page of its own: nothing is fetched and nothing runs. `style` comes after the common style."""
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}{style}</style>",
    ]
    return "\n".join(
        ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</body></html>", ""]
    )


def embed_page(page: str, *, prefix: str) -> str:
    """Return what a page of `build_page` says below its header, to stand in another: headings one step lower.

    Its ids, and the links to them, begin with `prefix`; links to other pages are left out.
    """
    body = page[page.index("</header>") + len("</header>") : page.rindex("</body>")]
    body = re.sub(r"<(/?)h([2-4])(?=[ >])", lambda found: f"<{found[1]}h{int(found[2]) + 1}", body)
    body = re.sub(r'(?<= id=")|(?<= href="#)', prefix, body)
    return re.sub(r'<a href="[^#"][^"]*">(.*?)</a>', r"\1", body)


def percent(share: float) -> str:
    """Return a share as per cent with one decimal, a dash for nan."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%" if math.isfinite(share) else "\N{EN DASH}"


def build_table(heads: Mapping[str, str], *, lines: Sequence[str], style: str = "") -> str:
    """Return a table that scrolls by itself where it is wider than the page.

    `heads` gives each column's heading, as HTML, and the class name of its cell; `lines` are whole `<tr>` elements.
    """
    cells = "".join(f'<th class="{name}">{head}</th>' if name else f"<th>{head}</th>" for head, name in heads.items())
    kind = f' class="{style}"' if style else ""
    rows = "".join(lines)
    return f'<div class="scroll"><table{kind}><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'


def count_of(number: int, *, one: str, many: str) -> str:
    """Return a number and its noun."""
    return f"{number:,} {one if number == 1 else many}"


def list_splits(manifest: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns that hold the splits: split_1 and so on."""
    return sorted({key for row in manifest for key in row if key.startswith("split_")})


def build_splits(manifest: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the splits: how many videos each subset has, and how many groups play a part."""
    lines: list[str] = []
    for split in list_splits(manifest):
        counts = Counter(str(row.get(split) or "") for row in manifest)
        groups = len({row["group"] for row in manifest if row.get("group") and row.get(split)})
        cells = "".join(f"<td>{counts[subset]:,}</td>" for subset in (*_SUBSETS, ""))
        name = escape(split.removeprefix("split_"))
        lines.append(f'<tr><th scope="row">{name}</th>{cells}<td>{groups or _DASH}</td></tr>')
    heads = dict.fromkeys(("Split", "Train", "Validation", "Test", "Unused", "Groups"), "")
    return build_table(heads, lines=lines)


def build_class_counts(manifest: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of videos of each class, folded up."""
    counts = Counter((int(row["class_index"]), str(row["class_name"])) for row in manifest)
    most = max(counts.values(), default=1)
    lines = [
        f'<tr><td>{index}</td><th scope="row" class="text">{escape(name)}</th><td>{count:,}</td>'
        f'<td class="text"><span class="bar"><i style="width:{100 * count / most:.1f}%"></i></span></td></tr>'
        for (index, name), count in sorted(counts.items())
    ]
    table = build_table({"Index": "", "Class": "text", "Videos": "", "&nbsp;": ""}, lines=lines)
    return f"<details><summary>Videos of each class ({len(counts)})</summary>{table}</details>"


def build_rejects(rejects: Sequence[Mapping[str, str]]) -> str:
    """Return the videos left out, by reason and one by one, from rows such as rejects.tsv has."""
    if not rejects:
        return "<h3>Videos left out</h3><p>None: every stage has features of every video.</p>"
    reasons = Counter((row["stage"], row["variant"], row["reason"]) for row in rejects)
    lines = [
        f'<tr><th scope="row">{escape(stage)}/{escape(variant)}</th><td class="text"><code>{escape(reason)}</code></td>'
        f'<td class="text wrap">{escape(REJECT_REASONS.get(reason, ""))}</td><td>{count:,}</td></tr>'
        for (stage, variant, reason), count in sorted(reasons.items())
    ]
    listed = [
        f'<tr><td class="wrap">{escape(row["video_id"])}</td><td class="text">{escape(row["stage"])}</td>'
        f'<td class="text"><code>{escape(row["reason"])}</code></td>'
        f'<td class="text wrap">{escape(row["detail"])}</td></tr>'
        for row in rejects[:_MAX_REJECTS]
    ]
    more = f"<p>{len(rejects) - _MAX_REJECTS:,} more in rejects.tsv.</p>" if len(rejects) > _MAX_REJECTS else ""
    table = build_table({"Stage": "", "Reason": "text", "Meaning": "text", "Videos": ""}, lines=lines)
    each = build_table({"Video": "", "Stage": "text", "Reason": "text", "Found": "text"}, lines=listed)
    return f"<h3>Videos left out</h3>{table}<details><summary>Each of them</summary>{each}{more}</details>"
