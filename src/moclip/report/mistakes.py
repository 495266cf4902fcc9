"""Misclassified test videos: found in predictions, drawn with their motion vectors, shown in the report."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moclip.cache.index import locate_videos
from moclip.cache.reader import Shard
from moclip.core.files import replace_atomically
from moclip.core.images import jpeg_uri, resize_image, webp_uri
from moclip.dataset.manifest import read_manifest
from moclip.errors import DatasetError, VideoError
from moclip.motion.vectors import motion_from_row
from moclip.report.motion import draw_loop
from moclip.report.pages import count_of
from moclip.video.frames import read_frames

_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a method says of a video: the class that most of its runs name, their mean probability, and how many do."""

    method: str
    class_name: str
    probability: float
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A test video that some run got wrong.

    `picture` is the address of a JPEG that a page has in itself, `preview` of a loop of frames with their vectors. Both
    may be empty; `note` is the reason.
    """

    video_id: str
    class_name: str
    class_index: int
    num_wrong: int
    num_runs: int
    votes: tuple[Vote, ...]
    picture: str = ""
    preview: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Some of the mistakes of one experiment's `method`, of `num_wrong` among its `num_videos` test videos."""

    experiment: str
    method: str
    num_videos: int
    num_wrong: int
    shown: tuple[Mistake, ...]


def write_mistakes(output: Path, *, mistakes: Mistakes) -> None:
    """Write them as JSON; equal mistakes give equal bytes."""
    with replace_atomically(output) as temporary:
        document = {"format": _FORMAT, **asdict(mistakes)}
        temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_mistakes(path: Path) -> Mistakes:
    """Return what `write_mistakes` wrote.

    Raises:
        DatasetError: The file is missing or no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != _FORMAT:
            raise ValueError("another format")
        shown = tuple(
            Mistake(**{**entry, "votes": tuple(Vote(**vote) for vote in entry["votes"])})
            for entry in document.pop("shown")
        )
        return Mistakes(**document, shown=shown)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: expected mistakes ({error}); run again", damaged=path) from None


def find_mistakes(tables: Sequence[Sequence[Mapping[str, str]]], *, experiment: str, number: int) -> Mistakes:
    """Return the mistakes in the predictions of some runs, `tables` of rows such as predictions.tsv has.

    They are those of fusion, or of the last method in the table where there is no fusion. Of each class first the video
    that most runs got wrong, of equals the one that they were surest of, then a second one of each class, and so on;
    sorted by class and id. A video without scores is no mistake of a method, and is left to the list of rejects.
    """
    methods = [name.removesuffix("_probability") for name in tables[0][0] if name.endswith("_probability")]
    method = "fusion" if "fusion" in methods else methods[-1]
    rows: dict[str, list[Mapping[str, str]]] = {}
    for row in (row for table in tables for row in table):
        rows.setdefault(row["video_id"], []).append(row)
    wrong = [own for own in rows.values() if any(_is_wrong(row, method=method) for row in own)]
    chosen = _spread_over_classes(sorted(wrong, key=lambda own: _rank(own, method=method)))[:number]
    mistakes = [_build_mistake(own, method=method, methods=methods) for own in chosen]
    return Mistakes(
        experiment=experiment,
        method=method,
        num_videos=len(rows),
        num_wrong=len(wrong),
        shown=tuple(sorted(mistakes, key=lambda mistake: (mistake.class_index, mistake.video_id))),
    )


def _is_wrong(row: Mapping[str, str], *, method: str) -> bool:
    return row[method] not in ("", row["class_name"])


def _rank(rows: Sequence[Mapping[str, str]], *, method: str) -> tuple[float, float, str]:
    sure = [float(row[f"{method}_probability"]) for row in rows if _is_wrong(row, method=method)]
    return -len(sure) / len(rows), -float(np.mean(sure)), rows[0]["video_id"]


def _spread_over_classes(ranked: Sequence[Sequence[Mapping[str, str]]]) -> list[Sequence[Mapping[str, str]]]:
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Sequence[Mapping[str, str]]]] = []
    for rows in ranked:
        rounds.append((seen[rows[0]["class_name"]], rows))
        seen[rows[0]["class_name"]] += 1
    return [rows for _, rows in sorted(rounds, key=lambda entry: entry[0])]


def _build_mistake(rows: Sequence[Mapping[str, str]], *, method: str, methods: Sequence[str]) -> Mistake:
    return Mistake(
        video_id=rows[0]["video_id"],
        class_name=rows[0]["class_name"],
        class_index=int(rows[0]["class_index"]),
        num_wrong=sum(_is_wrong(row, method=method) for row in rows),
        num_runs=len(rows),
        votes=tuple(_list_votes(rows, methods=methods)),
    )


def _list_votes(rows: Sequence[Mapping[str, str]], *, methods: Sequence[str]) -> Iterator[Vote]:
    for method in methods:
        probabilities: dict[str, list[float]] = {}
        for row in rows:
            if row[method]:
                probabilities.setdefault(row[method], []).append(float(row[f"{method}_probability"]))
        if probabilities:
            name, own = max(probabilities.items(), key=lambda entry: (len(entry[1]), sum(entry[1]), entry[0]))
            yield Vote(method=method, class_name=name, probability=round(float(np.mean(own)), 6), num_runs=len(own))


def read_predictions(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file that `evaluate.write_predictions` wrote.

    Raises:
        DatasetError: The file is missing or no such file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, dialect="excel-tab"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected predictions ({error}); run again", damaged=path) from None
    if not rows or not any(name.endswith("_probability") for name in rows[0]):
        raise DatasetError(f"{path}: expected the predictions of a run, found none; run again", damaged=path)
    return rows


_WIDTH_PX = 240

_NUM_FRAMES, _FRAMES_A_SECOND = 8, 8

# A report is sent by mail: its pictures may take half of the 15 MB that it may be.
MAX_PICTURE_BYTES = 7_000_000


def draw_mistakes(
    output: Path,
    *,
    predictions: Sequence[Path],
    experiment: str,
    manifest: Path,
    motion_index: Path | None,
    root: Path,
    number: int,
) -> None:
    """Write up to `number` mistakes of an experiment, with pictures, from the predictions of its runs.

    Fewer, where their pictures would take more than `MAX_PICTURE_BYTES`. A video whose
    file cannot be read any more is listed without a picture, with the reason.

    Raises:
        DatasetError: A file of predictions is missing or is none.
    """
    tables = [read_predictions(path) for path in predictions]
    found = find_mistakes(tables, experiment=experiment, number=number)
    frame = read_manifest(manifest)
    paths = dict(zip(frame["video_id"], frame["path"], strict=True))
    ids = [mistake.video_id for mistake in found.shown]
    shards = locate_videos(motion_index, video_ids=ids) if motion_index else {}
    drawn = {
        video_id: _draw(video_id, path=root / paths[video_id], shard=shards.get(video_id)) for video_id in sorted(ids)
    }
    write_mistakes(output, mistakes=fit_pictures(found, drawn=drawn))


def fit_pictures(
    mistakes: Mistakes, *, drawn: Mapping[str, Mapping[str, str]], max_bytes: int = MAX_PICTURE_BYTES
) -> Mistakes:
    """Return the mistakes with their pictures, previews and notes, `drawn` by id, as many as have `max_bytes` together.

    The class that shows most loses the video that the fewest runs got wrong, so that classes keep equally many.
    """
    shown = [_with_pictures(one, **drawn[one.video_id]) for one in mistakes.shown]
    while sum(len(one.picture) + len(one.preview) for one in shown) > max_bytes:
        number = Counter(one.class_index for one in shown)
        fullest = max(number, key=lambda index: (number[index], index))
        own = [place for place, one in enumerate(shown) if one.class_index == fullest]
        del shown[min(own, key=lambda place: (shown[place].num_wrong / shown[place].num_runs, -place))]
    return replace(mistakes, shown=tuple(shown))


def _with_pictures(mistake: Mistake, *, picture: str = "", preview: str = "", note: str = "") -> Mistake:
    return replace(mistake, picture=picture, preview=preview, note=note)


def _draw(video_id: str, *, path: Path, shard: Path | None) -> dict[str, str]:
    # The report must not fail for a file that was moved since: the reason is shown instead.
    note = "the cache has none of this video"
    try:
        if shard is not None:
            with Shard(shard) as opened:
                motion = motion_from_row(opened.read_row(video_id).values)
            frames = draw_loop(
                path,
                video_id=video_id,
                motion=motion,
                num_frames=_NUM_FRAMES,
                frames_a_second=_FRAMES_A_SECOND,
                width_px=_WIDTH_PX,
            )
            preview = webp_uri(frames, milliseconds=1000 // _FRAMES_A_SECOND)
            return {"picture": jpeg_uri(frames[len(frames) // 2]), "preview": preview}
    except VideoError as error:
        note = str(error)
    try:
        image = read_frames(path, video_id=video_id, choose=lambda count: [count // 2]).images[0]
    except VideoError as error:
        return {"note": str(error)}
    height_px = max(1, round(image.shape[0] * _WIDTH_PX / image.shape[1]))
    return {"picture": jpeg_uri(resize_image(image, width_px=_WIDTH_PX, height_px=height_px)), "note": note}


_STREAMS = {"motion": ("motion", "motion_head"), "appearance": ("appearance",)}


def describe_mistakes(mistakes: Mistakes) -> dict[str, Any]:
    """Return the section of the report as plain data: the mistakes of one experiment, class by class."""
    counted = f"{mistakes.num_wrong:,} of {count_of(mistakes.num_videos, one='test video', many='test videos')}"
    cards = [
        {
            **{name: value for name, value in vars(one).items() if name != "votes"},
            "streams": _describe_streams(one),
            "votes": [{**vars(vote), "is_right": vote.class_name == one.class_name} for vote in one.votes],
        }
        for one in mistakes.shown
    ]
    return {
        "experiment": mistakes.experiment,
        "method": mistakes.method,
        "counted": counted,
        "num_wrong": mistakes.num_wrong,
        "cards": cards,
    }


def _describe_streams(mistake: Mistake) -> str:
    named = {vote.method: vote.class_name == mistake.class_name for vote in mistake.votes}
    right = {
        stream: next(named[method] for method in methods if method in named)
        for stream, methods in _STREAMS.items()
        if any(method in named for method in methods)
    }
    return ", ".join(f"{stream} {'right' if is_right else 'wrong'}" for stream, is_right in right.items())
