"""The content of the data card as plain data, which a page and the report show."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moclip.evaluation.leakage import NUM_FOLDS, NUM_SHUFFLES, LeakCheck, bin_values
from moclip.motion.container_info import VectorCounts, VideoFacts, spell_source
from moclip.report.figures import Figure, Panel, draw_svg
from moclip.report.pages import count_of, describe_dataset, describe_rejects, list_splits, render_page
from moclip.report.plots import Histogram, count_values, histogram_panel

_MAX_BARS = 8

_MAX_COLUMNS = 8

_MAX_OPEN_CLASSES = 16

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
    return render_page("datacard.html", card=card, panels=draw_card(card))


def draw_card(card: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Return the charts of each motion variant as SVG."""
    return {name: draw_svg(figure) for name, figure in list_card_figures(card).items()}


def list_card_figures(card: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figure of each motion variant: the distributions that are no table."""
    return {
        variant["name"]: Figure(
            name=f"datacard-{variant['name']}",
            title=f"Videos of {variant['name']}",
            panels=[_draw(entry) for entry in variant["distributions"] if entry["histogram"]],
        )
        for variant in card["variants"]
    }


def _draw(entry: Mapping[str, Any]) -> Panel:
    return histogram_panel(Histogram(**entry["histogram"]), title=entry["title"], unit=entry["unit"])


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
        "same": [_in_sentence(fact.label) for fact in variant.facts if fact.check is None],
        "checks": [_describe_check(fact, check=check) for fact, check in ranked],
        "most": {name: getattr(most, name, 0) for name in ("num_videos", "num_groups", "num_classes")},
        "split": list_splits(manifest)[0].removeprefix("split_"),
        "threshold": alarm_rate / max(1, len(checked)),
        "alarm_rate": alarm_rate,
        "sources": [
            [count_of(count, one="video", many="videos"), spell_source(source)]
            for source, count in Counter(facts.source for facts in videos).most_common()
        ],
        **(_describe_codecs(videos) if videos else {"codecs": [], "others": []}),
        "distributions": _describe_videos(videos) if videos else [],
        "crossings": _cross_classes(variant, manifest=manifest),
    }


def _describe_check(fact: CardFact, *, check: LeakCheck) -> dict[str, Any]:
    number = len({repr(value) for value in fact.values.values()})
    known = (
        {} if check.untested else {name: getattr(check, name) for name in ("accuracy", "chance", "p_value", "fires")}
    )
    return {"label": fact.label, "num_values": number, "untested": check.untested, **known}


def _in_sentence(label: str) -> str:
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


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
    described: dict[str, Any] = {"title": title, "unit": unit, "counted": counted, "histogram": None, "bars": []}
    if len(counts := Counter(known)) <= _MAX_BARS or not unit:
        described["bars"] = _list_bars(counts)
    else:
        numbers = np.array(known, np.float64)
        low, middle, high = np.quantile(numbers, (0, 0.5, 1))
        notes.insert(0, f"{low:.4g} to {high:.4g}, median {middle:.4g}")
        described["histogram"] = asdict(count_values(numbers))
    return {**described, "note": "; ".join(notes)}


def _list_bars(counts: Mapping[float | str, int]) -> list[list[Any]]:
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
    shown = ranked[: _MAX_BARS if len(ranked) <= _MAX_BARS else _MAX_BARS - 1]
    rest = ranked[len(shown) :]
    if not any(isinstance(value, str) for value, _ in shown):
        shown.sort()
    rows = [(value if isinstance(value, str) else f"{value:.6g}", count) for value, count in shown]
    if rest:
        rows.append((f"{len(rest)} others", sum(count for _, count in rest)))
    return [[value, count, count / total] for value, count in rows]


def _describe_codecs(videos: Sequence[VideoFacts]) -> dict[str, Any]:
    names = sorted({facts.codec_name for facts in videos})
    others = sorted({kind for facts in videos for kind in facts.picture_types} - {"I", "P", "B"})
    kinds = {name: [facts for facts in videos if facts.codec_name == name] for name in names}
    if len(names) > 1:
        kinds["all"] = list(videos)
    return {"codecs": [_codec_row(own, name=name, others=others) for name, own in kinds.items()], "others": others}


def _codec_row(videos: Sequence[VideoFacts], *, name: str, others: Sequence[str]) -> list[str]:
    num_frames = sum(facts.num_frames for facts in videos)
    types: Counter[str] = Counter()
    for facts in videos:
        types.update(facts.picture_types)
    past, future = _sum([facts.past for facts in videos]), _sum([facts.future for facts in videos])
    shown = [types["I"], types["P"], types["B"], *([sum(types[kind] for kind in others)] if others else [])]
    cells = past.cells or math.nan
    shares = [*(count / num_frames for count in (*shown, past.fields)), past.vectors / cells, past.moving / cells]
    shares.append(future.fields / num_frames)
    texts = [f"{100 * share:.1f}" if math.isfinite(share) else "\N{EN DASH}" for share in shares]
    mean = (past.vectors + future.vectors) / num_frames
    return [name, f"{len(videos):,}", f"{num_frames:,}", *texts, f"{mean:,.0f}"]


def _sum(counts: Sequence[VectorCounts]) -> VectorCounts:
    names = ("fields", "cells", "vectors", "moving")
    return VectorCounts(**{name: sum(getattr(count, name) for count in counts) for name in names})


def _cross_classes(variant: CardVariant, *, manifest: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    varying = [fact for fact in variant.facts if len({repr(value) for value in fact.values.values()}) > 1]
    crossed = [fact for fact in varying if fact.fires or fact.name in _ALWAYS_CROSSED]
    return [_cross_fact(fact, manifest=manifest) for fact in crossed]


def _cross_fact(fact: CardFact, *, manifest: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [row for row in manifest if row["video_id"] in fact.values]
    bins = bin_values([fact.values[row["video_id"]] for row in rows], num_bins=_MAX_COLUMNS, missing=fact.missing)
    counts: dict[tuple[int, str], list[int]] = {}
    for row, code in zip(rows, bins.codes.tolist(), strict=True):
        key = int(row["class_index"]), str(row["class_name"])
        counts.setdefault(key, [0] * len(bins.labels))[code] += 1
    return {
        "label": _in_sentence(fact.label),
        "heads": [["Class", ""], *([label, ""] for label in bins.labels)],
        "rows": [[name, sum(own), own] for (_, name), own in sorted(counts.items())],
        "is_open": len(counts) <= _MAX_OPEN_CLASSES,
    }
