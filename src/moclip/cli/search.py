"""The commands `moclip search` and `moclip classify`."""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cli.formatting import add_command, add_output_options, print_results
from moclip.errors import MoclipError

if TYPE_CHECKING:
    from moclip.inference.search import Hit
    from moclip.inference.settings import AppearanceSource
    from moclip.inference.zero_shot import OwnLabel


_SEARCH = """\
examples:
  moclip search results/mine "a person doing lunges"
  moclip search results/mine --video like-this.mp4 --top 5 --json
  moclip search results/mine "a star" --html sheet.html --root /data/videos

Compares the embedding of the words with that of every cached frame, exactly, and prints the best moments: from the
valley before the best frame to the valley after it. It needs an encoder with a trained text tower, as CLIP has.
"""

_CLASSIFY = """\
examples:
  moclip classify results/mine --classes "doing lunges, brushing teeth, jumping"
  moclip classify results/mine --classes "a cat, a dog" --templates templates.txt new.mp4 --tsv

Without a VIDEO, every video with cached features is labelled. The probabilities are CLIP's softmax over your classes:
they compare your classes with each other, are not calibrated, and have no class "none of these".
exit code: 0 all labelled, 1 some not (reasons in the output), 2 none, or the command is wrong
"""


def add_search_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `search` and `classify` to the commands of a parser."""
    title = "find moments in videos by words or by an example"
    usage = "moclip search DATASET (WORDS | --video FILE) [options]"
    search = add_command(commands, "search", summary=title, text=_SEARCH, run=_search, usage=usage)
    _add_source(search)
    search.add_argument("sentence", nargs="?", metavar="WORDS", help="a description of the moments to find")
    search.add_argument("--video", type=Path, metavar="FILE", help="look for more like this video instead")
    search.add_argument("--top", type=int, default=10, metavar="K", help="moments to list (default: 10)")
    search.add_argument("--per-video", type=int, default=1, metavar="N", help="of one video at most (default: 1)")
    search.add_argument("--html", type=Path, metavar="PAGE.html", help="write a contact sheet that opens offline")
    search.add_argument("--root", type=Path, metavar="FOLDER", help="folder of the videos, for --html")
    search.add_argument("--cache-dir", type=Path, metavar="FOLDER", help="default: DATASET/../.cache")
    title = "label videos with classes in your own words (zero-shot)"
    usage = 'moclip classify DATASET [VIDEO ...] --classes "A, B, C" [options]'
    classify = add_command(commands, "classify", summary=title, text=_CLASSIFY, run=_classify, usage=usage)
    _add_source(classify)
    classify.add_argument("videos", nargs="*", type=Path, metavar="VIDEO", help="new videos; none: all cached ones")
    classify.add_argument("--classes", required=True, metavar='"A, B, C"', help="the classes, with commas between")
    classify.add_argument("--templates", type=Path, metavar="FILE", help="sentences with a {}, a line each, or YAML")
    classify.add_argument("--top", type=int, default=3, metavar="K", help="classes to list (default: 3)")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of results, such as results/demo")
    parser.add_argument("--variant", default="", metavar="NAME", help="appearance variant, where there are several")
    meaning = "settings of the encoder that no run has"
    parser.add_argument("--configfile", type=Path, metavar="FILE", nargs="+", default=[], help=meaning)
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="", help="default: that of the variant")
    add_output_options(parser)


def _source(options: argparse.Namespace) -> "AppearanceSource":
    if options.top < 1 or getattr(options, "per_video", 1) < 1:
        raise MoclipError("--top, --per-video: expected 1 or more")
    # Imported here: torch, FFmpeg and pandas take seconds, which `moclip --help` need not wait for.
    from moclip.inference.settings import find_appearance  # noqa: PLC0415

    source = find_appearance(options.dataset, name=options.variant, configfiles=options.configfile)
    if not source.zero_shot and not getattr(options, "video", None):
        note = f"no experiment of {options.dataset} tests words against {source.name} (method zero_shot)"
        print(f"note: {note}; if its text tower is untrained, this means nothing", file=sys.stderr)
    return source


def _search(options: argparse.Namespace) -> None:
    if (options.sentence is None) == (options.video is None):
        raise MoclipError('moclip search: expected either WORDS, such as "a person doing lunges", or --video FILE')
    source = _source(options)
    from moclip.inference.search import (  # noqa: PLC0415
        embed_example,
        embed_sentence,
        hits_as_rows,
        open_frame_index,
        search_frames,
    )

    cache_dir = options.cache_dir or options.dataset.resolve().parent / ".cache"
    frames = open_frame_index(source.index, cache_dir=cache_dir)
    if options.video:
        query = embed_example(source, options.video, device=options.device)
    else:
        query = embed_sentence(source, options.sentence, device=options.device)
    hits = search_frames(frames, query, limit=options.top, per_video=options.per_video)
    rows = hits_as_rows(hits)
    print_results(rows, rows=rows, lines=map(_describe_hit, rows), options=options)
    if options.html:
        facts = (f"{len(frames.vectors):,} frames of {len(frames.video_ids):,} videos", f"encoder {source.name}")
        _write_sheet(hits, facts=facts, options=options)


def _describe_hit(row: Mapping[str, Any]) -> str:
    from moclip.inference.search import format_time  # noqa: PLC0415

    times = [float("nan") if row[f"{at}_seconds"] is None else row[f"{at}_seconds"] for at in ("start", "stop")]
    span = " - ".join(dict.fromkeys(map(format_time, times)))
    return f"{row['rank']:>3}  {row['similarity']:.4f}  {span:<19}  {row['video_id']}"


def _write_sheet(hits: "Sequence[Hit]", *, facts: Sequence[str], options: argparse.Namespace) -> None:
    from moclip.core.records import check_recorded  # noqa: PLC0415
    from moclip.dataset.manifest_table import read_table  # noqa: PLC0415
    from moclip.inference.search_page import write_contact_sheet  # noqa: PLC0415
    from moclip.workflow.paths import result_path  # noqa: PLC0415

    root = options.root or options.dataset / "dataset" / "videos"
    if not root.is_dir():
        raise MoclipError(f"{root}: no such folder; name the folder of the videos with --root (`dataset.root`)")
    manifest = read_table(check_recorded(result_path(options.dataset, "manifest", "manifest")))
    videos = {video: root / path for video, path in manifest.rows("video_id", "path")}
    query = options.sentence or f"like {options.video.name}"
    for reason in write_contact_sheet(options.html, query=query, hits=hits, videos=videos, facts=facts):
        print(f"note: {reason}", file=sys.stderr)
    print(f"written: {options.html}", file=sys.stderr)


def _classify(options: argparse.Namespace) -> None:
    from moclip.inference.zero_shot import classify_cached, classify_files, embed_classes, parse_classes, read_templates  # noqa: PLC0415

    # The reason for a video that fails is part of the output.
    logging.getLogger("moclip").setLevel(logging.ERROR)
    names, templates = parse_classes(options.classes), read_templates(options.templates)
    source = _source(options)
    classes = embed_classes(source, names, templates=templates, device=options.device)
    if options.videos:
        found = classify_files(
            source, names, paths=options.videos, classes=classes, num_best=options.top, device=options.device
        )
    else:
        found = classify_cached(source, names, classes=classes, num_best=options.top)
    order = {str(path): place for place, path in enumerate(options.videos)}
    labels = sorted(found, key=lambda label: order.get(label.video_id, 0))
    print_results(
        [_as_document(label) for label in labels],
        rows=[_as_row(label, num_best=options.top) for label in labels],
        lines=map(_as_line, labels),
        options=options,
    )
    num_failed = sum(bool(label.reason) for label in labels)
    if num_failed:
        sys.exit(1 if num_failed < len(labels) else 2)


def _as_line(label: "OwnLabel") -> str:
    best = ", ".join(f"{name} {100 * value:.1f} %" for name, value in label.top)
    return f"{label.video_id}: {best or f'{label.reason} {label.detail}'.strip()}"


def _as_document(label: "OwnLabel") -> dict[str, Any]:
    top = [{"class_name": name, "probability": round(value, 6)} for name, value in label.top]
    return {"video": label.video_id, "status": label.reason or "ok", "detail": label.detail, "top": top}


def _as_row(label: "OwnLabel", *, num_best: int) -> dict[str, Any]:
    row: dict[str, Any] = {"video": label.video_id, "status": label.reason or "ok", "detail": label.detail}
    for place in range(num_best):
        name, value = label.top[place] if place < len(label.top) else ("", None)
        row |= {f"class_{place + 1}": name, f"probability_{place + 1}": None if value is None else f"{value:.6f}"}
    return row
