"""Misclassified test videos: found in predictions, drawn with their motion vectors, shown in the report."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moclip.cache.index import locate_videos
from moclip.core.files import write_json
from moclip.core.images import jpeg_uri, resize_image, webp_uri
from moclip.dataset.manifest_table import read_table
from moclip.errors import DatasetError, VideoError
from moclip.evaluation.comparisons import read_rows
from moclip.pictures.videos import draw_loop
from moclip.report.draw import load_motion, spread_over_classes
from moclip.video.frames import read_frames

_FORMAT = 3

_WIDTH_PX = 240

_NUM_FRAMES, _FRAMES_A_SECOND = 8, 8

# A report is sent by mail: its pictures may take half of the 15 MB that it may be.
MAX_PICTURE_BYTES = 7_000_000

_STREAMS = {"motion": ("motion", "motion_head"), "appearance": ("appearance",)}

Row = Mapping[str, str]

# The mistakes of one experiment: `experiment`, `method`, `num_videos`, `num_wrong`, and those `shown`, each with
# `video_id`, `class_name`, `class_index`, `num_wrong` of `num_runs`, `votes`, `streams`, and
# `picture`, `preview` and `note`, which may be empty.
Mistakes = Mapping[str, Any]


def read_mistakes(path: Path) -> Mistakes:
    """Return the mistakes that `draw_mistakes` wrote.

    Raises:
        DatasetError: The file is missing or no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: expected mistakes ({error}); run again", damaged=path) from None
    return dict(document)


def read_predictions(path: Path) -> list[dict[str, str]]:
    """Return the rows of the predictions of a run.

    Raises:
        DatasetError: The file is missing or no such file.
    """
    rows = read_rows(path, columns=("video_id", "class_name", "class_index"))
    if not rows or not _list_methods(rows[0]):
        raise DatasetError(f"{path}: expected the predictions of a run, found none; run again", damaged=path)
    return rows


def _list_methods(row: Row) -> list[str]:
    return [name.removesuffix("_probability") for name in row if name.endswith("_probability")]


def find_mistakes(tables: Sequence[Sequence[Row]], *, experiment: str, number: int) -> dict[str, Any]:
    """Return the mistakes in the predictions of some runs, `tables` of rows such as predictions.tsv has.

    They are those of fusion, or of the last method in the table where there is no fusion. Of each class first the video
    that most runs got wrong, of equals the one that they were surest of, then a second one of each class, and so on;
    sorted by class and id. A video without scores is no mistake of a method, and is left to the list of rejects.
    """
    methods = _list_methods(tables[0][0])
    method = "fusion" if "fusion" in methods else methods[-1]
    rows: dict[str, list[Row]] = {}
    for row in (row for table in tables for row in table):
        rows.setdefault(row["video_id"], []).append(row)
    found = [_describe(own, method=method, methods=methods) for own in rows.values()]
    wrong = [mistake for mistake in found if mistake["num_wrong"]]
    ranked = sorted(wrong, key=lambda one: (-one["num_wrong"] / one["num_runs"], -one["sureness"], one["video_id"]))
    shown = sorted(spread_over_classes(ranked)[:number], key=lambda one: (one["class_index"], one["video_id"]))
    counts = {"num_videos": len(rows), "num_wrong": len(wrong)}
    return {"format": _FORMAT, "experiment": experiment, "method": method, **counts, "shown": shown}


def _describe(rows: Sequence[Row], *, method: str, methods: Sequence[str]) -> dict[str, Any]:
    truth = rows[0]["class_name"]
    sure = [float(row[f"{method}_probability"]) for row in rows if row[method] not in ("", truth)]
    votes = list(_list_votes(rows, methods=methods))
    right = {vote["method"]: vote["class_name"] == truth for vote in votes}
    streams = {
        stream: "right" if right[own[0]] else "wrong"
        for stream, known in _STREAMS.items()
        if (own := [name for name in known if name in right])
    }
    return {
        "video_id": rows[0]["video_id"], "class_name": truth, "class_index": int(rows[0]["class_index"]),
        "num_wrong": len(sure), "num_runs": len(rows), "sureness": sum(sure) / max(len(sure), 1), "votes": votes,
        "streams": ", ".join(f"{stream} {word}" for stream, word in streams.items()),
        "picture": "", "preview": "", "note": "",
    }  # fmt: skip


def _list_votes(rows: Sequence[Row], *, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    # The class that most runs predict, of equals the one with the higher probabilities, and their mean.
    for method in methods:
        probabilities: dict[str, list[float]] = {}
        for row in rows:
            if row[method]:
                probabilities.setdefault(row[method], []).append(float(row[f"{method}_probability"]))
        if probabilities:
            name, own = max(probabilities.items(), key=lambda entry: (len(entry[1]), sum(entry[1]), entry[0]))
            is_right = name == rows[0]["class_name"]
            vote = {"method": method, "class_name": name, "is_right": is_right, "num_runs": len(own)}
            yield {**vote, "probability": round(sum(own) / len(own), 6)}


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
    paths = dict(read_table(manifest).rows("video_id", "path"))
    ids = sorted(mistake["video_id"] for mistake in found["shown"])
    shards = locate_videos(motion_index, video_ids=ids) if motion_index else {}
    drawn = {video_id: _draw(video_id, path=root / paths[video_id], shard=shards.get(video_id)) for video_id in ids}
    write_json(output, fit_pictures(found, drawn=drawn))


def fit_pictures(
    mistakes: Mistakes, *, drawn: Mapping[str, Mapping[str, str]], max_bytes: int = MAX_PICTURE_BYTES
) -> dict[str, Any]:
    """Return the mistakes with their pictures, previews and notes, `drawn` by id, as many as have `max_bytes` together.

    The class that shows most loses the video that the fewest runs got wrong, so that classes keep equally many.
    """
    shown = [{**one, **drawn[one["video_id"]]} for one in mistakes["shown"]]
    while sum(len(one["picture"]) + len(one["preview"]) for one in shown) > max_bytes:
        number = Counter(one["class_index"] for one in shown)
        fullest = max(number, key=lambda index: (number[index], index))
        own = [place for place, one in enumerate(shown) if one["class_index"] == fullest]
        del shown[min(own, key=lambda place: (shown[place]["num_wrong"] / shown[place]["num_runs"], -place))]
    return {**mistakes, "shown": shown}


def _draw(video_id: str, *, path: Path, shard: Path | None) -> dict[str, str]:
    # The report must not fail for a file that was moved since: the reason is shown instead.
    note = "the cache has none of this video"
    try:
        if shard is not None:
            motion, size = load_motion(shard, video_id=video_id), {"num_frames": _NUM_FRAMES, "width_px": _WIDTH_PX}
            frames = draw_loop(path, video_id=video_id, motion=motion, frames_a_second=_FRAMES_A_SECOND, **size)
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
