"""The frame of every page: HTML, tables, the style sheet, and the mark of each method."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from moclip.config.methods import METHODS
from moclip.errors import REJECT_REASONS
from moclip.report.charts import shape_key

# The heading above a column of `charts.strip`.
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


STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f6f7f9; --ink: #1a1d21; --muted: #5a6370; --line: #dde1e6;
  --fusion: #1d5fd1; --appearance: #b9540a; --motion: #0b7a68; --zero: #6b727c; --miss: #b3261e; --shuffled: #8438a0;
  --warn-page: #fff6e0; --warn-line: #e2b13c; --alarm-page: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121417; --card: #1b1e23; --ink: #e7e9ec; --muted: #9ba4af; --line: #30353c;
    --fusion: #78a9ff; --appearance: #f2a05c; --motion: #46c7ac; --zero: #a3abb6; --miss: #ff8a80; --shuffled: #d3a0e6;
    --warn-page: #2b2414; --warn-line: #8a6a1c; --alarm-page: #331916;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 66rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { font-size: 2rem; line-height: 1.2; margin: .1rem 0 .4rem; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 3rem 0 .4rem; padding-top: 1.1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .3rem; }
p { margin: .35rem 0 .8rem; max-width: 46rem; }
a { color: var(--fusion); }
code, pre { font: .84em/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem;
  overflow-x: auto;
}
.eyebrow { color: var(--muted); font-size: .85rem; letter-spacing: .04em; margin: 0; }
.muted, figcaption, .note { color: var(--muted); font-size: .88rem; }
.warn {
  background: var(--warn-page); border: 1px solid var(--warn-line); border-radius: 8px; padding: .6rem .9rem;
  max-width: none;
}
.alarm, .calm { border: 1px solid var(--line); border-radius: 8px; padding: .7rem 1rem .5rem; margin: 1.1rem 0; }
.alarm { background: var(--alarm-page); border-color: var(--miss); } .alarm > b { color: var(--miss); }
.calm { background: var(--card); } .alarm p, .calm p, .alarm ul { max-width: none; margin: .35rem 0; }
nav { margin: 1.1rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .92rem; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.2rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .75rem 1rem .7rem; }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; font-weight: 650; letter-spacing: -.02em; }
.tile span { color: var(--muted); font-size: .84rem; line-height: 1.35; display: block; }

.scroll { overflow-x: auto; margin: .6rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .38rem .55rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--muted); font-size: .82rem; vertical-align: bottom; }
tbody th { color: var(--ink); font-size: inherit; }
td, .tile b { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, .text { text-align: left; }
th:first-child, td:first-child { padding-left: .2rem; }
td:last-child, th:last-child { padding-right: .2rem; }
.scroll th:first-child { position: sticky; left: 0; background: var(--page); }
.pair .wrap { min-width: 6rem; }
.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
tr.group th { padding-top: 1.1rem; font-size: .95rem; }
tr.best td, tr.best th { font-weight: 650; }
.sd { color: var(--muted); font-weight: 400; font-size: .88em; }
.bar {
  display: inline-block; width: 5rem; height: .62rem; border-radius: 3px; background: var(--line);
  overflow: hidden;
}
figure .bar { width: 4rem; }
.bar i { display: block; height: 100%; background: currentColor; }
ul.note { margin: .2rem 0 .8rem; padding-left: 1.2rem; }
.mark {
  border: 1px solid var(--warn-line); background: var(--warn-page); border-radius: 5px; padding: 0 .35rem;
  font-size: .74rem; font-weight: 400; display: inline-block; max-width: 13rem; white-space: normal; line-height: 1.35;
}

.fusion { color: var(--fusion); } .appearance { color: var(--appearance); } .motion { color: var(--motion); }
.zero_shot, .zero_shot_head, .unsure { color: var(--zero); } .score_fusion { color: var(--fusion); }
.motion_head { color: var(--motion); } .shuffled_motion { color: var(--shuffled); }
.gain { color: var(--motion); } .loss { color: var(--miss); }
.legend {
  display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .86rem; margin: .3rem 0 .2rem; padding: 0;
  list-style: none;
}
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend span { color: var(--ink); }

svg { fill: currentColor; }
svg text { fill: var(--muted); font-family: inherit; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem 2.5rem; }
.charts.broad { grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
.charts figure { display: flex; flex-direction: column; } .charts .legend { flex: 1; align-content: start; }
figure { margin: .6rem 0; min-width: 0; }
figcaption b { color: var(--ink); font-weight: 600; }
.chart { width: 100%; height: auto; display: block; }
.tick { font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.line { fill: none; stroke: currentColor; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.line.dashed { stroke-dasharray: 5 4; }
.bars rect { fill: var(--motion); }
.band { fill: currentColor; opacity: .13; }
.name { font-size: 12px; } svg .name { fill: var(--ink); }
.zero { stroke: var(--muted); stroke-width: 1.2; fill: none; }
.ideal { stroke: var(--muted); stroke-width: 1.2; stroke-dasharray: 4 4; fill: none; }
.thin { stroke-width: 1.4; opacity: .7; } .share { opacity: .55; }
.interval { stroke: currentColor; stroke-width: 2.4; fill: none; }
.cap { stroke: var(--ink); stroke-width: 1.1; fill: none; }
.point { stroke-width: 1.2; } .point > g { stroke: var(--page); } .point .interval { stroke-width: 1.4; opacity: .55; }
.point.faint { opacity: .38; } .point .hollow { stroke: currentColor; stroke-width: 2; }
.cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)); gap: .6rem 1.6rem; }
.cells figure { max-width: 18rem; }
ul.said { margin: .5rem 0 .8rem; padding-left: 1.2rem; max-width: 62rem; } ul.said li { margin: .2rem 0; }
.strip { width: 100%; display: block; }
.strip g { stroke: var(--page); stroke-width: 1.2; }
.hollow { fill: var(--page); stroke: currentColor; stroke-width: 2; }
.span { stroke: var(--line); stroke-width: 5; stroke-linecap: round; }
.dots td, .dots tbody th { padding-top: .1rem; padding-bottom: .1rem; font-weight: 400; }
.dots .plot { width: 48%; min-width: 10rem; padding: .1rem 1.1rem; }
.dots thead .plot { text-align: left; }
.axis { display: flex; justify-content: space-between; margin: 0 -.9rem; font-weight: 400; }
.axis i { font-style: normal; width: 2.2rem; text-align: center; }
.heatmap { display: block; }
.heatmap .name { fill: var(--ink); }
.heatmap .frame { fill: var(--card); stroke: var(--line); }
.heatmap .hit { color: var(--fusion); } .heatmap .miss { color: var(--miss); }
.heatmap .value { font-size: 12px; fill: var(--ink); } .heatmap .value.on { fill: var(--page); }
.shade { background: color-mix(in srgb, var(--fusion) calc(var(--share) * 60%), transparent); }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.pair > * { min-width: 0; max-width: 100%; }
.pair > .grow { flex: 1 1 15rem; }

details { margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; }
details.experiment > summary {
  font-size: 1.1rem; border-top: 1px solid var(--line); padding-top: .8rem; margin-top: 1rem;
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: .6rem 0; font-size: .92rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 3.5rem; color: var(--muted); font-size: .85rem; }

@media (max-width: 640px) {
  body { padding: 1.5rem 1rem 3rem; font-size: 15px; }
  h1 { font-size: 1.6rem; }
  .wide { display: none; }
  th, td { padding-left: .4rem; padding-right: .4rem; }
  .dots .plot { min-width: 8rem; padding-left: .6rem; padding-right: .6rem; }
  .dots tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 5.5rem; line-height: 1.25; }
  .tiles { grid-template-columns: 1fr 1fr; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
}
@media print { nav { display: none; } body { max-width: none; } .scroll { overflow: visible; } }
"""

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
