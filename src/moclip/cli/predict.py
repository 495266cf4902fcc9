"""The commands `moclip predict` and `moclip export`."""

import argparse
import csv
import glob
import io
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cli.formatting import add_command, add_output_options
from moclip.errors import MoclipError

if TYPE_CHECKING:
    from moclip.inference.predictor import Prediction, Predictor, SegmentPrediction
    from moclip.inference.run import RunParts


_PREDICT = """\
examples:
  moclip predict results/mine/experiments/paper/split-1/seed-0 video.mp4
  moclip predict RUN videos/ 'more/*.avi' --tsv > predictions.tsv
  find /data -name '*.mkv' | moclip predict RUN - --json
  moclip predict RUN match.mp4 --segments 4 --step 2

RUN is the folder of a run or of a bundle. A VIDEO is a file, a folder, a 'pattern', or - for a list on stdin.
Percentages are calibrated by a temperature where one proved itself on the run's validation videos. The output begins
with the test accuracy of the run, chance, and the calibration error; --json and --tsv have them in every line. A note
marks videos whose codec exports no motion vectors: these are transcoded in memory.
exit code: 0 all labelled, 1 some not (reasons in the output), 2 none, or the command is wrong
"""

_EXPORT = """\
examples:
  moclip export results/mine/experiments/paper/split-1/seed-0 my-model
  moclip export RUN my-model --onnx --licence "MIT"
  moclip predict my-model video.mp4

Writes a model card (README.md), labels, settings (bundle.json) and weights (safetensors), and with --onnx the heads and
both encoders, each compared with torch to 1e-4. `moclip predict` needs nothing else, and gives the same bits.
"""


def add_predict_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `predict` and `export` to the commands of a parser."""
    title, usage = "label new videos with a finished run", "moclip predict RUN VIDEO... [options]"
    predict = add_command(commands, "predict", summary=title, text=_PREDICT, run=_predict, usage=usage)
    predict.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run or of a bundle")
    predict.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="file, folder, 'pattern', or -")
    predict.add_argument("--top", type=int, default=3, metavar="K", help="classes to list (default: 3)")
    predict.add_argument("--segments", type=float, metavar="SECONDS", help="a label for each window of this length")
    predict.add_argument("--step", type=float, metavar="SECONDS", help="from window to window (default: half of it)")
    predict.add_argument("--device", choices=("cpu", "cuda", "auto"), default="", help="default: that of the run")
    predict.add_argument("--threads", type=int, default=1, metavar="N", help="that decode frames (default: 1)")
    add_output_options(predict)
    title, usage = "write a finished run as one folder to copy", "moclip export RUN BUNDLE [options]"
    export = add_command(commands, "export", summary=title, text=_EXPORT, run=_export, usage=usage)
    export.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a finished run")
    export.add_argument("bundle", type=Path, metavar="BUNDLE", help="a new or an empty folder")
    export.add_argument("--onnx", action="store_true", help="write ONNX too, compared with torch (extra `export`)")
    export.add_argument("--licence", default="", metavar="TEXT", help="licence of the encoder's weights, for the card")


def _export(options: argparse.Namespace) -> None:
    from moclip.inference.bundle import write_bundle  # noqa: PLC0415 (torch, pandas)

    done = write_bundle(options.run_folder, options.bundle, with_onnx=options.onnx, licence=options.licence)
    for name, difference in done.onnx:
        print(f"{name}: within {difference:.1e} of torch")
    print(f"written: {done.folder} ({done.num_bytes / 1e6:.1f} MB); try: moclip predict {done.folder} VIDEO")


def _predict(options: argparse.Namespace) -> None:
    _check(options)
    for stream in (sys.stdin, sys.stdout):  # names of files are bytes, in any encoding of the terminal
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")
    paths = list_inputs(options.videos, listed=sys.stdin if Path("-") in options.videos else ())
    # Imported here: torch, FFmpeg and pandas take seconds, which `moclip --help` need not wait for.
    from tqdm import tqdm  # noqa: PLC0415

    from moclip.inference.predictor import Predictor  # noqa: PLC0415

    # The reason for a video that fails is part of the output.
    logging.getLogger("moclip").setLevel(logging.ERROR)
    predictor = Predictor(options.run_folder, device=options.device)
    for note in predictor.notes:
        print(f"note: {note}", file=sys.stderr)
    writer = _Writer(options, predictor=predictor)
    writer.begin()
    quiet = len(paths) < 2 or not sys.stderr.isatty()
    with tqdm(total=len(paths), unit="video", disable=quiet, file=sys.stderr) as bar:
        for path_done, outcome in _predict_all(predictor, paths, options=options):
            with bar.external_write_mode(file=sys.stdout):
                writer.write(outcome)
            bar.update(path_done)
    sys.exit(writer.exit_code)


def _check(options: argparse.Namespace) -> None:
    if options.top < 1 or options.threads < 1:
        raise MoclipError("--top, --threads: expected 1 or more")
    if options.step is not None and options.segments is None:
        raise MoclipError("--step: expected --segments SECONDS too, found none")
    for name in ("segments", "step"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e6:
            raise MoclipError(f"--{name}: expected a number of seconds above 0, found {value}")


def list_inputs(words: Sequence[Path], *, listed: "Iterator[str] | Sequence[str] | Any" = ()) -> list[Path]:
    """Return the files that the arguments name: files as they are, the videos of folders, sorted matches of patterns.

    `-` is replaced by the lines of `listed`. A missing file is kept, so that the output reports it.

    Raises:
        MoclipError: A folder or a pattern names no video at all.
    """
    paths: list[Path] = []
    for word in words:
        if word == Path("-"):
            paths += [Path(line.rstrip("\r\n")) for line in listed if line.strip()]
        elif word.is_dir():
            paths += _list_folder(word)
        elif glob.has_magic(str(word)) and not word.exists():
            matches = sorted(glob.glob(str(word), recursive=True))  # noqa: PTH207 (a pattern may begin anywhere)
            if not matches:
                raise MoclipError(f"{word}: expected a pattern that matches files, found none")
            paths += map(Path, matches)
        else:
            paths.append(word)
    if not paths:
        raise MoclipError("moclip predict: expected a VIDEO or more, found none; is the list on stdin empty?")
    return list(dict.fromkeys(paths))


def _list_folder(folder: Path) -> list[Path]:
    from moclip.dataset.layouts import walk_videos  # noqa: PLC0415 (pandas follows)

    found = sorted(folder / name for name, _ in walk_videos(folder))
    if not found:
        raise MoclipError(f"{folder}: expected a folder of videos, found none")
    return found


def _predict_all(
    predictor: "Predictor", paths: Sequence[Path], *, options: argparse.Namespace
) -> "Iterator[tuple[int, SegmentPrediction | Prediction]]":
    # Yields the number of videos that an outcome finishes, and the outcome.
    from moclip.errors import VideoError  # noqa: PLC0415
    from moclip.inference.predictor import Prediction  # noqa: PLC0415

    if not options.segments:
        yield from ((1, prediction) for prediction in predictor.predict_all(paths, num_threads=options.threads))
        return
    step = options.step or options.segments / 2
    for path in paths:
        try:
            for segment in predictor.predict_segments(path, window_seconds=options.segments, step_seconds=step):
                yield 0, segment
        except VideoError as error:
            yield 0, Prediction(video=str(path), status=error.reason, detail=error.detail, votes={})


class _Writer:
    """Prints predictions one by one, and counts failures."""

    def __init__(self, options: argparse.Namespace, *, predictor: "Predictor") -> None:
        self._options, self._parts = options, predictor.parts
        self._methods = self._parts.methods
        self._num_ok = self._num_failed = 0
        self._table = csv.writer(sys.stdout, dialect="excel-tab", lineterminator="\n")

    @property
    def exit_code(self) -> int:
        """0: every one has all its votes; 1: some lack one; 2: none has any."""
        if not self._num_failed:
            return 0
        return 1 if self._num_ok else 2

    def begin(self) -> None:
        """Print the header of the table, or how far the percentages below can be trusted."""
        if self._options.tsv:
            self._write_header()
        elif not self._options.json:
            self._write_quality()

    def _write_quality(self) -> None:
        from moclip.inference.quality import describe_accuracy, describe_chance  # noqa: PLC0415

        tested = self._parts.tested
        print(f"# run {_plain(self._parts.name)}")
        for method in self._methods:
            accuracy = describe_accuracy(tested[method]) if method in tested else "test accuracy unknown"
            print(f"# {method}: {accuracy}; percentages {self._parts.describe_calibration(method)}")
        for entry in [*tested.values()][:1]:
            print(f"# chance: {describe_chance(entry)}")

    def write(self, outcome: "Prediction | SegmentPrediction") -> None:
        """Print one outcome."""
        span: list[Any] = [getattr(outcome, name, None) for name in ("start_seconds", "stop_seconds")]
        prediction: Prediction = outcome.prediction if hasattr(outcome, "prediction") else outcome
        if self._options.json:
            document = _as_document(prediction, num_best=self._options.top, parts=self._parts)
            times = {} if span[0] is None else {"start_seconds": round(span[0], 3), "stop_seconds": round(span[1], 3)}
            print(json.dumps(times | document, allow_nan=False), flush=True)
        elif self._options.tsv:
            self._write_row(prediction, span=span)
        else:
            self._write_text(prediction, span=span)
        self._num_ok += bool(prediction.votes)
        self._num_failed += prediction.status != "ok"

    @property
    def _times(self) -> list[str]:
        return ["start_seconds", "stop_seconds"] if self._options.segments is not None else []

    def _write_header(self) -> None:
        parts = ("", "_probability", "_top5", "_calibrated", "_temperature", "_test_top_1", "_test_ece")
        columns = ["video", "status", "detail", "notes", *self._times]
        columns += [f"{name}{part}" for name in self._methods for part in parts]
        self._table.writerow([*columns, "chance_majority", "chance_uniform"])

    def _write_row(self, prediction: "Prediction", *, span: Sequence[float | None]) -> None:
        from moclip.inference.quality import calibration_error  # noqa: PLC0415

        cells = [prediction.video, prediction.status, prediction.detail, "; ".join(prediction.notes)]
        if self._times:
            cells += ["" if time is None else f"{time:.3f}" for time in span]
        for name in self._methods:
            vote, fitted = prediction.votes.get(name), self._parts.temperatures.get(name)
            calibrated = f"{vote.top(1)[0][1]:.6f}" if vote and vote.temperature else ""
            cells += [*vote.cells(), calibrated] if vote else [""] * 4
            tested = self._parts.tested.get(name)
            error = calibration_error(fitted, tested=tested)
            cells += map(_cell, (fitted.value if fitted else None, tested.top_1 if tested else None, error))
        chance = [(one.chance_majority, one.chance_uniform) for one in self._parts.tested.values()][:1]
        cells += map(_cell, chance[0] if chance else (None, None))
        self._table.writerow(cells)
        sys.stdout.flush()

    def _write_text(self, prediction: "Prediction", *, span: Sequence[float | None]) -> None:
        from moclip.inference.search import format_time  # noqa: PLC0415

        name = _plain(prediction.video)
        times = "" if span[0] is None or span[1] is None else f" {format_time(span[0])}-{format_time(span[1])}"
        reason, votes = f"{prediction.status}: {_plain(prediction.detail)}", prediction.votes
        best = ", ".join(map(_say, prediction.vote.top(self._options.top))) if votes else reason
        print(f"{name}{times}: {best}")
        if len(votes) > 1:
            print("  votes: " + ", ".join(f"{method} {_say(vote.top(1)[0])}" for method, vote in votes.items()))
        if votes and prediction.status != "ok":
            print(f"  without {', '.join(method for method in self._methods if method not in votes)}: {reason}")
        for note in prediction.notes:
            print(f"  note: {note}")
        sys.stdout.flush()


def _plain(text: str) -> str:
    # Names and messages are printed without control characters.
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _say(entry: tuple[str, float]) -> str:
    return f"{_plain(entry[0])} {100 * entry[1]:.1f} %"


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"


def _as_document(prediction: "Prediction", *, num_best: int, parts: "RunParts") -> dict[str, Any]:
    from moclip.inference.quality import calibration_error  # noqa: PLC0415

    votes = {
        name: {
            # A temperature of 1 changes nothing: no other proved itself.
            "calibrated": vote.temperature not in (None, 1.0),
            "temperature": vote.temperature,
            "calibration": parts.describe_calibration(name),
            "test_ece": calibration_error(parts.temperatures.get(name), tested=parts.tested.get(name)),
            "test": asdict(parts.tested[name]) if name in parts.tested else None,
            "top": [
                {"class_name": label, "probability": round(calibrated, 6)} for label, calibrated in vote.top(num_best)
            ],
        }
        for name, vote in prediction.votes.items()
    }
    return {
        "video": prediction.video,
        "status": prediction.status,
        "detail": prediction.detail,
        "label": prediction.label if prediction.votes else None,
        "votes": votes,
        "notes": list(prediction.notes),
    }
