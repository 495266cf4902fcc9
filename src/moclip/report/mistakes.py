"""Misclassified test videos: found in predictions, drawn with their motion vectors, shown in the report."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.cache.index import locate_videos
from moclip.cache.reader import Shard
from moclip.core.files import replace_atomically
from moclip.core.images import jpeg_uri, resize_image
from moclip.dataset.manifest import read_manifest
from moclip.errors import DatasetError, VideoError
from moclip.motion.fields import FieldSpec
from moclip.motion.vectors import motion_from_row
from moclip.report.motion import DrawingSpec, draw_video
from moclip.report.motion_drawing import lay_over
from moclip.report.pages import count_of, label_of, percent, phrase_of
from moclip.video.frames import read_frames

_FORMAT = 1


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

    `picture` is the address of a JPEG that a page carries in itself, or empty; `note` says why it or its vectors
    are absent.
    """

    video_id: str
    class_name: str
    class_index: int
    num_wrong: int
    num_runs: int
    votes: tuple[Vote, ...]
    picture: str = ""
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
        raise DatasetError(f"{path}: expected mistakes ({error}); delete it and run again") from None


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
        raise DatasetError(f"{path}: expected predictions ({error}); delete it and run again") from None
    if not rows or not any(name.endswith("_probability") for name in rows[0]):
        raise DatasetError(f"{path}: expected the predictions of a run, found none; delete it and run again")
    return rows


_WIDTH_PX = 480  # enough to follow the arrows, some 30 KB

# A report is sent by mail: its pictures may take half of the 15 MB that it may be.
MAX_PICTURE_BYTES = 7_000_000

_SPEC = DrawingSpec(field=FieldSpec(upright=True), num_frames=1)


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
    mistakes: Mistakes, *, drawn: Mapping[str, tuple[str, str]], max_bytes: int = MAX_PICTURE_BYTES
) -> Mistakes:
    """Return the mistakes with their pictures and notes, `drawn` by id, as many as have `max_bytes` together.

    Left out is, of the class that shows most, what the fewest runs got wrong: each class keeps as many as the others.
    """
    shown = [replace(one, picture=drawn[one.video_id][0], note=drawn[one.video_id][1]) for one in mistakes.shown]
    while sum(len(one.picture) for one in shown) > max_bytes:
        number = Counter(one.class_index for one in shown)
        fullest = max(number, key=lambda index: (number[index], index))
        own = [place for place, one in enumerate(shown) if one.class_index == fullest]
        del shown[min(own, key=lambda place: (shown[place].num_wrong / shown[place].num_runs, -place))]
    return replace(mistakes, shown=tuple(shown))


def _draw(video_id: str, *, path: Path, shard: Path | None) -> tuple[str, str]:
    # The picture, and what is to be said of it: a report is no place to fail for a file that was moved since.
    note = "this video has none in the cache"
    try:
        if shard is not None:
            return _draw_vectors(video_id, path=path, shard=shard), ""
    except VideoError as error:
        note = str(error)
    try:
        return _encode(read_frames(path, video_id=video_id, choose=lambda count: [count // 2]).images[0]), note
    except VideoError as error:
        return "", str(error)


def _draw_vectors(video_id: str, *, path: Path, shard: Path) -> str:
    with Shard(shard) as opened:
        motion = motion_from_row(opened.read_row(video_id).values)
    frame = draw_video(path, video_id=video_id, motion=motion, spec=_SPEC).frames[0]
    height, width = frame.vectors.shape[:2]
    under = resize_image(frame.image, width_px=width, height_px=height)
    return _encode(lay_over(under, rgba=frame.vectors))


def _encode(image: NDArray[np.uint8]) -> str:
    height, width = image.shape[:2]
    scale = min(1.0, _WIDTH_PX / width)
    return jpeg_uri(resize_image(image, width_px=round(width * scale), height_px=max(1, round(height * scale))))


MISTAKES_STYLE = """
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1.2rem; }
.mistakes figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.mistakes img { display: block; width: 100%; height: auto; }
.mistakes figcaption { padding: .6rem .8rem .7rem; overflow-wrap: anywhere; line-height: 1.4; }
.mistakes ul { list-style: none; margin: .4rem 0 0; padding: 0; display: grid; gap: .1rem; }
.mistakes li { display: grid; grid-template-columns: 6.2rem 1fr max-content; gap: .5rem; color: var(--ink); }
.mistakes li > span:first-child { font-weight: 600; } .mistakes .said { font-variant-numeric: tabular-nums; }
.mistakes .none { padding: 2.4rem .8rem; background: var(--card); color: var(--muted); font-size: .86rem; }
"""

_RIGHT, _WRONG = "\N{CHECK MARK}", "\N{MULTIPLICATION X}"


def build_mistakes(mistakes: Mistakes) -> str:
    """Return the section: the mistakes of one experiment, class by class."""
    label = phrase_of(mistakes.method)
    counted = f"{mistakes.num_wrong:,} of {count_of(mistakes.num_videos, one='test video', many='test videos')}"
    head = (
        f'<h2 id="mistakes">Mistakes</h2><p>Experiment {escape(mistakes.experiment)}: {escape(label)} got {counted} '
        "wrong in at least one run.</p>"
    )
    if not mistakes.shown:
        return head
    return (
        f'{head}<p class="note">Shown: {len(mistakes.shown)} of {mistakes.num_wrong:,}, of each class first what most '
        "runs got wrong and were surest of. The frame is in the middle of those that have motion, its block vectors "
        "drawn over it; a method's vote is the class that most of its runs name, with their mean probability.</p>"
        f'<div class="mistakes">{"".join(map(_build_card, mistakes.shown))}</div>'
    )


def _build_card(mistake: Mistake) -> str:
    name, truth = escape(mistake.video_id), escape(mistake.class_name)
    picture = (
        f'<img src="{mistake.picture}" alt="frame of {name} with its block vectors">'
        if mistake.picture
        else f'<div class="none">No picture: {escape(mistake.note)}</div>'
    )
    note = f"<br>No vectors: {escape(mistake.note)}" if mistake.picture and mistake.note else ""
    runs = f" in {mistake.num_wrong} of {mistake.num_runs} runs" if mistake.num_runs > 1 else ""
    votes = "".join(_build_vote(vote, mistake=mistake) for vote in mistake.votes)
    text = f"<b>{truth}</b><br>{name}<br>wrong{runs}{note}<ul>{votes}</ul>"
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def _build_vote(vote: Vote, *, mistake: Mistake) -> str:
    is_right = vote.class_name == mistake.class_name
    mark, style = (_RIGHT, "gain") if is_right else (_WRONG, "loss")
    label = escape(label_of(vote.method))
    return (
        f'<li><span class="{escape(vote.method)}">{label}</span><span>{escape(vote.class_name)} '
        f'<span class="{style}">{mark}</span></span><span class="said">{percent(vote.probability)}</span></li>'
    )
