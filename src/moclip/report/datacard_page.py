"""The content of the data card as plain data, which a page and the report show."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import ticker
from numpy.typing import NDArray

from moclip.evaluation.leakage import NUM_FOLDS, NUM_SHUFFLES, LeakCheck, bin_values
from moclip.motion.container_info import VideoFacts, spell_source
from moclip.report.figures import Figure, draw_figures
from moclip.report.pages import count_of, describe_dataset, describe_rejects, in_sentence, list_splits, render_page
from moclip.report.plots import ROUND_STEPS, Panel

_MAX_BARS = 8

_MAX_COLUMNS = 8

_MAX_OPEN_CLASSES = 16

_NUM_STEPS = 24

_COUNTS = ("fields", "cells", "vectors", "moving")

# Facts of which it is good to see the classes, whether they are a leak or not.
_ALWAYS_CROSSED = ("codec", "frame_rate", "size", "source")


@dataclass(frozen=True, kw_only=True)
class CardFact:
    """A property, its value in each video, and how well it predicts the class; no check if it is equal in all videos.

    `missing` is the meaning of a value of nan.
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
    """The measured videos of a motion variant and their facts; `rejects` has rows as rejects.tsv has."""

    name: str
    videos: Mapping[str, VideoFacts]
    rejects: Sequence[Mapping[str, str]]
    facts: Sequence[CardFact]


def build_card(
    dataset_name: str,
    *,
    manifest: Sequence[Mapping[str, Any]],
    variants: Sequence[CardVariant],
    alarm_rate: float,
    groups: str = "videos cut from one source",
    near: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of the card, of types that JSON has.

    `manifest` holds the rows of the manifest, `groups` says where its groups come from, and `near` is the section about
    near-duplicates.
    """
    most = max((variant.videos for variant in variants), key=len, default={}).values()
    seconds = sum(facts.duration_seconds for facts in most if math.isfinite(facts.duration_seconds))
    return {
        "name": dataset_name,
        "tiles": [
            [f"{len(manifest):,}", "videos"],
            [f"{len({row['class_name'] for row in manifest}):,}", "classes"],
            [f"{len({row['group'] for row in manifest}):,}", f"groups: {groups}"],
            [f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min", "of video"],
            [f"{sum(facts.num_frames for facts in most):,}", "frames, counted by decoding"],
        ],
        **_judge(variants),
        "near": near,
        "variants": [_describe_variant(variant, manifest=manifest, alarm_rate=alarm_rate) for variant in variants],
        "dataset": describe_dataset(manifest),
        "whole": [variant.name for variant in variants if not variant.rejects],
        "rejects": describe_rejects([row for variant in variants for row in variant.rejects]),
        "constants": {"folds": NUM_FOLDS, "shuffles": NUM_SHUFFLES},
    }


def render_card(card: Mapping[str, Any]) -> str:
    """Return the page of a card; equal cards give equal text."""
    return render_page("datacard.html", card=card, charts=draw_figures(list_card_figures(card)))


def list_card_figures(card: Mapping[str, Any]) -> list[Figure]:
    """Return the figure of each motion variant: the distributions that are no table."""
    return [
        Figure(
            name=f"datacard-{variant['name']}",
            title=f"Videos of {variant['name']}",
            panels=[
                Panel(title=entry["title"], kind="histogram", axis=entry["unit"], rows=entry["histogram"])
                for entry in variant["distributions"]
                if entry["histogram"]
            ],
        )
        for variant in card["variants"]
    ]


def _judge(variants: Sequence[CardVariant]) -> dict[str, Any]:
    checked = [(fact, fact.check, variant) for variant in variants for fact in variant.facts if fact.check is not None]
    fired = sorted((entry for entry in checked if entry[1].fires), key=lambda entry: -entry[1].accuracy)
    leaks = [
        {"label": fact.label, "variant": variant.name if len(variants) > 1 else "", "accuracy": check.accuracy,
         "chance": check.chance}
        for fact, check, variant in fired
    ]  # fmt: skip
    tested = sum(not check.untested for _, check, _ in checked)
    untested = "; ".join(dict.fromkeys(check.untested for _, check, _ in checked if check.untested))
    facts = count_of(tested, one="fact that differs", many="facts that differ")
    return {"leaks": leaks, "num_checked": len(checked), "num_tested": tested, "untested": untested, "tested": facts}


def _describe_variant(
    variant: CardVariant, *, manifest: Sequence[Mapping[str, Any]], alarm_rate: float
) -> dict[str, Any]:
    checked = [(fact, fact.check) for fact in variant.facts if fact.check is not None]
    ranked = sorted(checked, key=lambda pair: (math.isnan(pair[1].p_value), pair[1].p_value, -pair[1].accuracy))
    most = max((check for _, check in checked), key=lambda check: check.num_videos, default=None)
    videos = list(variant.videos.values())
    return {
        "name": variant.name,
        "same": [in_sentence(fact.label) for fact in variant.facts if fact.check is None],
        "checks": [_describe_check(fact, check=check) for fact, check in ranked],
        "most": {name: getattr(most, name, 0) for name in ("num_videos", "num_groups", "num_classes")},
        "split": list_splits(manifest)[0].removeprefix("split_"),
        "threshold": alarm_rate / max(1, len(checked)),
        "alarm_rate": alarm_rate,
        "sources": [
            [count_of(count, one="video", many="videos"), spell_source(source)]
            for source, count in Counter(facts.source for facts in videos).most_common()
        ],
        "codecs": _list_codecs(videos),
        "distributions": _describe_videos(videos) if videos else [],
        "crossings": _cross_classes(variant, manifest=manifest),
    }


def _describe_check(fact: CardFact, *, check: LeakCheck) -> dict[str, Any]:
    is_known = not check.untested
    accuracy = {"text": f"{100 * check.accuracy:.1f}", "value": check.accuracy, "bar": check.accuracy,
                "chance": check.chance, "method": "loss" if check.fires else "fusion"}  # fmt: skip
    return {
        "Fact": fact.label,
        "Values": len({repr(value) for value in fact.values.values()}),
        "Predicts the class of %": accuracy if is_known else None,
        "Chance %": 100 * check.chance if is_known else None,
        "By chance": f"{100 * check.p_value:.2f} %" if is_known else None,
        "Verdict": ("leak" if check.fires else "no sign") if is_known else f"not checked: {check.untested}",
    }


def _describe_videos(videos: Sequence[VideoFacts]) -> list[dict[str, Any]]:
    gops = [float(length) for facts in videos for length in facts.gop_lengths]
    longest = [facts.gop_length for facts in videos if facts.gop_lengths]
    single = len(videos) - len(longest)
    one = f"{count_of(single, one='video has', many='videos have')} one keyframe only" if single else ""
    b_shares: list[float | str] = [10.0 * round(10 * facts.b_share) for facts in videos]
    moving = [100 * facts.past.moving / facts.past.cells for facts in videos if facts.past.cells]
    return [
        _describe_values("Codec of the file", [facts.codec_name for facts in videos]),
        _describe_values("Picture size, px", [facts.size for facts in videos]),
        _describe_values("Frame rate, frames a second", [round(facts.frame_rate, 2) for facts in videos]),
        _describe_values("Duration, seconds", [facts.duration_seconds for facts in videos], unit="seconds"),
        _describe_values("Length, frames", [float(facts.num_frames) for facts in videos], unit="frames"),
        _describe_values("From keyframe to keyframe, frames", gops, unit="frames", counted="Times"),
        _describe_values("Longest GOP of the video, frames", longest, unit="frames", note=one),
        _describe_values("Cells that move, % of the video's", moving, unit="% of cells"),
        _describe_values("B-frames, % to the nearest ten", b_shares),
    ]


def _describe_values(
    title: str, values: Sequence[float | str], *, unit: str = "", counted: str = "Videos", note: str = ""
) -> dict[str, Any]:
    """Return the counts of the values where they are few, else a histogram."""
    unknown = sum(isinstance(value, float) and not math.isfinite(value) for value in values)
    known = [value for value in values if isinstance(value, str) or math.isfinite(value)]
    notes = [words for words in (note, f"{unknown:,} unknown" if unknown else "") if words]
    described: dict[str, Any] = {"title": title, "unit": unit, "histogram": [], "bars": []}
    if len(counts := Counter(known)) <= _MAX_BARS or not unit:
        described["bars"] = _list_bars(counts, counted=counted)
    else:
        numbers = np.array(known, np.float64)
        low, middle, high = np.quantile(numbers, (0, 0.5, 1))
        notes.insert(0, f"{low:.4g} to {high:.4g}, median {middle:.4g}")
        described["histogram"] = count_values(numbers)
    return {**described, "note": "; ".join(notes)}


def count_values(values: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the rows of a histogram of finite values, (N,), in round equal steps: `from`, `to` and `count`.

    It ends where one value in a hundred is larger, if those reach more than twice as far; `to` is None there.
    """
    low, high = float(values.min()), float(values.max())
    usual = float(np.quantile(values, 0.99))
    top = high if high <= 2 * usual else usual
    is_whole = bool((values == np.round(values)).all())
    locator = ticker.MaxNLocator(_NUM_STEPS, steps=ROUND_STEPS, integer=is_whole, min_n_ticks=1)
    ticks = locator.tick_values(low, top if top > low else low + 1)
    step = ticks[1] - ticks[0]
    first = math.floor(low / step + 1e-9)
    edges = (step * np.arange(first, max(math.floor(top / step + 1e-9), first) + 2)).round(12).tolist()
    counts = np.histogram(values.clip(edges[0], edges[-1]), bins=edges)[0].tolist()
    ends = [*edges[1:-1], None if high > edges[-1] else edges[-1]]
    return [dict(zip(("from", "to", "count"), row, strict=True)) for row in zip(edges[:-1], ends, counts, strict=True)]


def _list_bars(counts: Mapping[float | str, int], *, counted: str) -> list[dict[str, Any]]:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
    shown = ranked[: _MAX_BARS if len(ranked) <= _MAX_BARS else _MAX_BARS - 1]
    rest = ranked[len(shown) :]
    if not any(isinstance(value, str) for value, _ in shown):
        shown.sort()
    rows = [(value if isinstance(value, str) else f"{value:.6g}", count) for value, count in shown]
    rows += [(f"{len(rest)} others", sum(count for _, count in rest))] if rest else []
    shares = [count / sum(counts.values()) for _, count in rows]
    return [
        {"Value": value, counted: count,
         "Share %": {"text": f"{100 * share:.1f}", "value": share, "bar": share, "method": "motion"}}
        for (value, count), share in zip(rows, shares, strict=True)
    ]  # fmt: skip


def _list_codecs(videos: Sequence[VideoFacts]) -> list[dict[str, Any]]:
    names = sorted({facts.codec_name for facts in videos})
    kinds = {name: [facts for facts in videos if facts.codec_name == name] for name in names}
    return [
        _codec_row(own, name=name) for name, own in {**kinds, **({"all": videos} if len(names) > 1 else {})}.items()
    ]


def _codec_row(videos: Sequence[VideoFacts], *, name: str) -> dict[str, Any]:
    num_frames = sum(facts.num_frames for facts in videos)
    types: Counter[str] = Counter()
    for facts in videos:
        types.update(facts.picture_types)
    past, future = (
        {key: sum(getattr(getattr(facts, time), key) for facts in videos) for key in _COUNTS}
        for time in ("past", "future")
    )
    shares = {f"{kind} %": (types[kind], num_frames) for kind in "IPB"}
    shares["Other %"] = sum(types[kind] for kind in types.keys() - set("IPB")), num_frames
    shares |= {"Past %": (past["fields"], num_frames), "Covered %": (past["vectors"], past["cells"])}
    shares |= {"Moving %": (past["moving"], past["cells"]), "Future %": (future["fields"], num_frames)}
    percents = {key: 100 * part / whole if whole else None for key, (part, whole) in shares.items()}
    mean = round((past["vectors"] + future["vectors"]) / num_frames)
    return {"Codec": name, "Videos": len(videos), "Frames": num_frames, **percents, "Vectors": mean}


def _cross_classes(variant: CardVariant, *, manifest: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    varying = [fact for fact in variant.facts if len({repr(value) for value in fact.values.values()}) > 1]
    crossed = [fact for fact in varying if fact.fires or fact.name in _ALWAYS_CROSSED]
    return [_cross_fact(fact, manifest=manifest) for fact in crossed]


def _cross_fact(fact: CardFact, *, manifest: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [row for row in manifest if row["video_id"] in fact.values]
    bins = bin_values([fact.values[row["video_id"]] for row in rows], num_bins=_MAX_COLUMNS, missing=fact.missing)
    counts: dict[tuple[int, str], Counter[str]] = {}
    for row, code in zip(rows, bins.codes.tolist(), strict=True):
        counts.setdefault((int(row["class_index"]), str(row["class_name"])), Counter())[bins.labels[code]] += 1
    shaded = [
        {"Class": name, **{label: {"text": f"{own[label]:,}", "value": own[label], "style": "shade",
                                   "share": own[label] / own.total()} for label in bins.labels}}
        for (_, name), own in sorted(counts.items())
    ]  # fmt: skip
    return {"label": in_sentence(fact.label), "rows": shaded, "is_open": len(counts) <= _MAX_OPEN_CLASSES}
