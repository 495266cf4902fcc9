"""The page of the data card, as one HTML file."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from moclip.evaluation.leakage import NUM_FOLDS, NUM_SHUFFLES, LeakCheck, bin_values
from moclip.motion.container_info import VectorCounts, VideoFacts, spell_source
from moclip.report.charts import Mark, histogram, strip
from moclip.report.pages import (
    PERCENT_AXIS,
    build_class_counts,
    build_page,
    build_rejects,
    build_splits,
    build_table,
    count_of,
    list_splits,
    percent,
)

_MAX_BARS = 8

_MAX_COLUMNS = 8

_MAX_OPEN_CLASSES = 16

_DASH, _DOT = "\N{EN DASH}", "\N{MIDDLE DOT}"

# Facts of which it is good to see the classes, whether they are a leak or not.
_ALWAYS_CROSSED = ("codec", "frame_rate", "size", "source")


@dataclass(frozen=True, kw_only=True)
class CardFact:
    """A property, its value in each video, and how well it predicts the class; no check if it is equal in all videos.

    `missing` says what a value of nan means.
    """

    name: str
    label: str
    missing: str
    values: Mapping[str, float | str]
    check: LeakCheck | None = None

    @property
    def fires(self) -> bool:
        """Whether it predicts the class."""
        return self.check is not None and self.check.fires


@dataclass(frozen=True, kw_only=True)
class CardVariant:
    """What a motion variant says of the videos; `rejects` has rows as rejects.tsv has."""

    name: str
    videos: Mapping[str, VideoFacts]
    rejects: Sequence[Mapping[str, str]]
    facts: Sequence[CardFact]


def build_datacard(
    dataset_name: str,
    *,
    manifest: Sequence[Mapping[str, Any]],
    variants: Sequence[CardVariant],
    alarm_rate: float,
) -> str:
    """Return the whole page; equal inputs give equal text. `manifest` holds the rows of the manifest."""
    body = [
        _build_header(dataset_name, manifest=manifest, variants=variants),
        _build_verdict(variants, alarm_rate=alarm_rate),
        *(_build_leaks(variant, manifest=manifest, alarm_rate=alarm_rate) for variant in variants),
        *(_build_files(variant) for variant in variants),
        '<h2 id="classes">Classes and splits</h2>',
        build_splits(manifest),
        build_class_counts(manifest),
        *(part for variant in variants for part in _build_crossings(variant, manifest=manifest)),
        '<h2 id="rejects">Left out</h2>',
        _build_left_out(variants),
    ]
    return build_page(f"{dataset_name}: data card", body=body)


def _build_header(dataset_name: str, *, manifest: Sequence[Mapping[str, Any]], variants: Sequence[CardVariant]) -> str:
    videos = max((variant.videos for variant in variants), key=len, default={}).values()
    seconds = [facts.duration_seconds for facts in videos if math.isfinite(facts.duration_seconds)]
    tiles = [
        (f"{len(manifest):,}", "videos"),
        (f"{len({row['class_name'] for row in manifest}):,}", "classes"),
        (f"{len({row['group'] for row in manifest}):,}", "groups: clips cut from one source"),
        (_hours(sum(seconds)), "of video"),
        (f"{sum(facts.num_frames for facts in videos):,}", "frames, counted by decoding"),
    ]
    cells = "".join(f'<div class="tile"><b>{number}</b><span>{words}</span></div>' for number, words in tiles)
    files = "".join(
        f'<a href="#files-{escape(variant.name)}">Files and vectors{_of(variant, variants=variants)}</a>'
        for variant in variants
    )
    return (
        f'<header><p class="eyebrow">MoCLIP-Lite</p><h1>Data card of {escape(dataset_name)}</h1>'
        f'<nav><a href="#leaks">Leaks</a>{files}<a href="#classes">Classes</a>'
        '<a href="#rejects">Left out</a><a href="report.html">Results</a></nav></header>'
        f'<div class="tiles">{cells}</div>'
    )


def _finely(share: float) -> str:
    return f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def _in_sentence(label: str) -> str:
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _of(variant: CardVariant, *, variants: Sequence[CardVariant]) -> str:
    return f" ({escape(variant.name)})" if len(variants) > 1 else ""


def _build_verdict(variants: Sequence[CardVariant], *, alarm_rate: float) -> str:
    head = '<h2 id="leaks">Does the container give the class away?</h2>'
    if not variants:
        return f"{head}<p>Not known: no experiment reads motion, so that nothing was measured of the files.</p>"
    fired = [(fact, variant) for variant in variants for fact in variant.facts if fact.fires]
    checks = [fact.check for variant in variants for fact in variant.facts if fact.check is not None]
    if fired:
        return head + _build_alarm([(fact, _of(variant, variants=variants)) for fact, variant in fired])
    untested = list(dict.fromkeys(check.untested for check in checks if check.untested))
    num_tested = sum(not check.untested for check in checks)
    if not checks:
        words = "<b>No:</b> every fact of the container is the same in all videos."
    elif not num_tested:
        words = f"<b>Not known:</b> {escape('; '.join(untested))}."
    else:
        facts = count_of(num_tested, one="fact that differs", many="facts that differ")
        words = f"<b>No fact of the container tells the class</b> better than chance; checked: {facts} between videos."
    return f'{head}<div class="calm"><p>{words}</p></div>'


def _build_alarm(fired: Sequence[tuple[CardFact, str]]) -> str:
    ranked = sorted(fired, key=lambda pair: -(pair[0].check.accuracy if pair[0].check else 0))
    lines = "".join(f"<li>{_say(fact, variant=variant)}</li>" for fact, variant in ranked)
    return (
        '<div class="alarm" role="alert"><b>Yes: facts of the container tell the class better than chance.</b>'
        f"<ul>{lines}</ul><p>None of these is a feature here, yet they mark what is one: vectors are in px a frame, "
        "so that the frame rate scales them; motion is accumulated since the keyframe or over a number of frames; "
        "B-frames of MPEG-4 have no vectors. A network may learn that mark in place of the action. A motion variant "
        "with <code>source: transcode</code> has one picture size, one GOP length and no B-frames; frame rate and "
        "length stay. An action may also take its own time: then a leak of the duration is not wrong by itself.</p>"
        "</div>"
    )


def _say(fact: CardFact, *, variant: str) -> str:
    if fact.check is None:
        return ""
    ratio = fact.check.accuracy / fact.check.chance
    return (
        f"<b>{escape(fact.label)}</b>{variant} alone tells the class of {percent(fact.check.accuracy)} of the videos; "
        f"a guess is right for {percent(fact.check.chance)} ({ratio:.1f} times as good)."
    )


def _build_leaks(variant: CardVariant, *, manifest: Sequence[Mapping[str, Any]], alarm_rate: float) -> str:
    checked = [(fact, fact.check) for fact in variant.facts if fact.check is not None]
    same = [_in_sentence(fact.label) for fact in variant.facts if fact.check is None]
    constant = f"The same in all videos: {escape(', '.join(same))}. " if same else ""
    if not checked:
        return f'<h3>{escape(variant.name)}</h3><p class="note">{constant}</p>'
    ranked = sorted(checked, key=lambda pair: (math.isnan(pair[1].p_value), pair[1].p_value, -pair[1].accuracy))
    heads = {
        "Fact": "",
        "Values": "wide",
        PERCENT_AXIS: "plot",
        "Tells the class of": "",
        "A guess": "",
        "By chance": "",
        "&nbsp;": "text",
    }
    table = build_table(heads, lines=[_leak_row(fact, check=check) for fact, check in ranked], style="dots")
    split = list_splits(manifest)[0].removeprefix("split_")
    most = max((check for _, check in checked), key=lambda check: check.num_videos)
    return (
        f"<h3>{escape(variant.name)}</h3>{table}"
        f'<p class="note">{constant}Measured on the {most.num_videos:,} training and validation videos of split '
        f"{escape(split)} in {most.num_groups:,} groups and {most.num_classes:,} classes, never on its test videos. A "
        "table names the class in which a value is most frequent; it is made without the groups that it is asked "
        f"about, which are held out in {NUM_FOLDS} parts. Every class counts alike. <i>By chance</i> is the share of "
        f"{NUM_SHUFFLES:,} shuffles of the classes over groups of like size, the true order among them, that do as "
        f"well. A leak is {_finely(alarm_rate / len(checked))} or less, so that of cards of videos that leak nothing "
        f"{percent(alarm_rate)} at most raise an alarm.</p>"
    )


def _leak_row(fact: CardFact, *, check: LeakCheck) -> str:
    name = f'<th scope="row">{escape(fact.label)}</th>'
    distinct = f'<td class="wide">{len({repr(value) for value in fact.values.values()}):,}</td>'
    if check.untested:
        return f'<tr>{name}{distinct}<td class="text" colspan="5">not checked: {escape(check.untested)}</td></tr>'
    marks = [
        Mark(value=check.chance, shape="ring", style="zero_shot", label=f"A guess: {percent(check.chance)}"),
        Mark(
            value=check.accuracy,
            shape="circle",
            style="loss" if check.fires else "fusion",
            label=f"{fact.label}: {percent(check.accuracy)}",
        ),
    ]
    verdict = '<b class="loss">leak</b>' if check.fires else "no sign"
    return (
        f'<tr>{name}{distinct}<td class="plot">{strip(marks)}</td><td>{percent(check.accuracy)}</td>'
        f'<td>{percent(check.chance)}</td><td>{_finely(check.p_value)}</td><td class="text">{verdict}</td></tr>'
    )


def _build_files(variant: CardVariant) -> str:
    videos = list(variant.videos.values())
    head = f'<h2 id="files-{escape(variant.name)}">Files and vectors: {escape(variant.name)}</h2>'
    if not videos:
        return f"{head}<p>No video has vectors; see what was left out.</p>"
    sources = "".join(
        f"<dt>{count_of(count, one='video', many='videos')}</dt><dd>{escape(spell_source(source))}</dd>"
        for source, count in Counter(facts.source for facts in videos).most_common()
    )
    gops = [float(length) for facts in videos for length in facts.gop_lengths]
    longest = [facts.gop_length for facts in videos if facts.gop_lengths]
    single = len(videos) - len(longest)
    one = f"{count_of(single, one='video has', many='videos have')} one keyframe only" if single else ""
    b_shares: list[float | str] = [10.0 * round(10 * facts.b_share) for facts in videos]
    moving = [100 * facts.past.moving / facts.past.cells for facts in videos if facts.past.cells]
    figures = [
        _distribution("Codec of the file", [facts.codec_name for facts in videos]),
        _distribution("Picture size, px", [facts.size for facts in videos]),
        _distribution("Frame rate, frames a second", [round(facts.frame_rate, 2) for facts in videos]),
        _distribution("Duration, seconds", [facts.duration_seconds for facts in videos], unit="seconds"),
        _distribution("Length, frames", [float(facts.num_frames) for facts in videos], unit="frames"),
        _distribution("From keyframe to keyframe, frames", gops, unit="frames", counted="Times"),
        _distribution("Longest GOP of the video, frames", longest, unit="frames", note=one),
        _distribution("Cells that move, % of the video's", moving, unit="% of cells"),
        _distribution("B-frames, % to the nearest ten", b_shares),
    ]
    return (
        f"{head}<h3>Where the vectors come from</h3><dl>{sources}</dl>{_build_codecs(videos)}"
        f'<h3>How the videos differ</h3><div class="charts">{"".join(figures)}</div>'
    )


def _distribution(
    title: str, values: Sequence[float | str], *, unit: str = "", counted: str = "Videos", note: str = ""
) -> str:
    """Return bars of the values where they are few, else a histogram."""
    unknown = sum(isinstance(value, float) and not math.isfinite(value) for value in values)
    known = [value for value in values if isinstance(value, str) or math.isfinite(value)]
    counts = Counter(known)
    notes = [note] if note else []
    if unknown:
        notes.append(f"{unknown:,} unknown")
    if len(counts) <= _MAX_BARS or not unit:
        drawn = _bars(counts, counted=counted)
    else:
        numbers = np.array(known, np.float64)
        low, middle, high = np.quantile(numbers, (0, 0.5, 1))
        notes.insert(0, f"{low:.4g} to {high:.4g}, median {middle:.4g}")
        drawn = histogram(numbers, title=title, unit=unit)
    said = f'<p class="note">{escape("; ".join(notes))}.</p>' if notes else ""
    return f"<figure><figcaption><b>{escape(title)}</b></figcaption>{drawn}{said}</figure>"


def _bars(counts: Mapping[float | str, int], *, counted: str) -> str:
    if not counts:
        return "<p>None.</p>"
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
    shown = ranked[: _MAX_BARS if len(ranked) <= _MAX_BARS else _MAX_BARS - 1]
    if not any(isinstance(value, str) for value, _ in shown):
        shown.sort()
    rows = [(value if isinstance(value, str) else f"{value:.6g}", count) for value, count in shown]
    if len(rest := ranked[len(shown) :]):
        rows.append((f"{len(rest)} others", sum(count for _, count in rest)))
    lines = [
        f'<tr><th scope="row">{escape(value)}</th><td>{count:,}</td><td>{percent(count / total)}</td>'
        f'<td class="text"><span class="bar motion"><i style="width:{100 * count / total:.1f}%"></i></span></td></tr>'
        for value, count in rows
    ]
    return build_table({"Value": "", counted: "", "Share": "", "&nbsp;": ""}, lines=lines)


def _build_codecs(videos: Sequence[VideoFacts]) -> str:
    names = sorted({facts.codec_name for facts in videos})
    others = sorted({kind for facts in videos for kind in facts.picture_types} - {"I", "P", "B"})
    kinds = {name: [facts for facts in videos if facts.codec_name == name] for name in names}
    if len(names) > 1:
        kinds["all"] = list(videos)
    lines = [_codec_row(chosen, name=name, others=others) for name, chosen in kinds.items()]
    heads = dict.fromkeys(("Codec", "Videos", "Frames", "I %", "P %", "B %"), "") | ({"Other %": ""} if others else {})
    heads |= dict.fromkeys(("Past %", "Covered %", "Moving %", "Future %", "Vectors"), "")
    also = f" Other: {escape(', '.join(others))}." if others else ""
    return (
        f"<h3>Pictures and vectors by codec</h3>{build_table(heads, lines=lines)}"
        '<p class="note">Over all frames together. I, P, B: the types of the pictures. Past: frames that have vectors '
        "into the past; of their cells of 8 \N{MULTIPLICATION SIGN} 8 px, those that have a vector (covered) and those "
        "whose vector is not zero (moving). Future: frames that have vectors into the future, which motion fields "
        f"leave out. Vectors: cells with one, of either direction, in the mean of all frames.{also}</p>"
    )


def _codec_row(videos: Sequence[VideoFacts], *, name: str, others: Sequence[str]) -> str:
    num_frames = sum(facts.num_frames for facts in videos)
    types: Counter[str] = Counter()
    for facts in videos:
        types.update(facts.picture_types)
    past, future = _sum([facts.past for facts in videos]), _sum([facts.future for facts in videos])
    shown = [types["I"], types["P"], types["B"], *([sum(types[kind] for kind in others)] if others else [])]
    cells = past.cells or math.nan
    cells_of = [past.vectors / cells, past.moving / cells]
    shares = [*(count / num_frames for count in (*shown, past.fields)), *cells_of, future.fields / num_frames]
    mean = (past.vectors + future.vectors) / num_frames
    numbers = [f"{len(videos):,}", f"{num_frames:,}", *(_per_cent(share) for share in shares), f"{mean:,.0f}"]
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{number}</td>" for number in numbers)}</tr>'


def _sum(counts: Sequence[VectorCounts]) -> VectorCounts:
    return VectorCounts(
        fields=sum(count.fields for count in counts),
        cells=sum(count.cells for count in counts),
        vectors=sum(count.vectors for count in counts),
        moving=sum(count.moving for count in counts),
    )


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else _DASH


def _build_crossings(variant: CardVariant, *, manifest: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for fact in variant.facts:
        differs = len({repr(value) for value in fact.values.values()}) > 1
        if differs and (fact.fires or fact.name in _ALWAYS_CROSSED):
            yield _build_crossing(fact, variant=variant.name, manifest=manifest)


def _build_crossing(fact: CardFact, *, variant: str, manifest: Sequence[Mapping[str, Any]]) -> str:
    rows = [row for row in manifest if row["video_id"] in fact.values]
    bins = bin_values([fact.values[row["video_id"]] for row in rows], num_bins=_MAX_COLUMNS, missing=fact.missing)
    counts: Counter[tuple[tuple[int, str], int]] = Counter()
    for row, code in zip(rows, bins.codes.tolist(), strict=True):
        counts[(int(row["class_index"]), str(row["class_name"])), code] += 1
    names = sorted({name for name, _ in counts})
    lines = [_cross_row(name[1], counts=[counts[name, code] for code in range(len(bins.labels))]) for name in names]
    heads = {"Class": "", **{escape(label): "" for label in bins.labels}}
    is_open = " open" if len(names) <= _MAX_OPEN_CLASSES else ""
    return (
        f"<details{is_open}><summary>Classes and {escape(_in_sentence(fact.label))} "
        f'<span class="muted">({escape(variant)})</span></summary>{build_table(heads, lines=lines)}</details>'
    )


def _cross_row(name: str, *, counts: Sequence[int]) -> str:
    total = sum(counts)
    cells = "".join(
        f'<td class="shade" style="--share:{count / total:.2f}">{count:,}</td>' if count else "<td>0</td>"
        for count in counts
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _build_left_out(variants: Sequence[CardVariant]) -> str:
    rejects = [row for variant in variants for row in variant.rejects]
    whole = [variant.name for variant in variants if not variant.rejects]
    note = f"<p>{escape(', '.join(whole))}: none, every video has vectors.</p>" if whole else ""
    return note + (build_rejects(rejects) if rejects else "")
