"""`Predictor`: predictions for new videos from a finished run, equal to its predictions.tsv on test videos."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import Row
from moclip.config.methods import METHODS
from moclip.core.numerics import rank_classes, softmax
from moclip.errors import MoclipError
from moclip.evaluation.evaluate import join_names
from moclip.evaluation.scoring import score_method
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Video
from moclip.extraction.motion_embedding import build_motion_embedding_extractor
from moclip.extraction.text import ClassEmbeddings
from moclip.inference.bundle import BUNDLE_NAME, load_bundle
from moclip.inference.run import RunParts, load_run
from moclip.inference.streams import StreamRow, extract_streams, stream_of
from moclip.inference.windows import extract_windows, load_run_encoder
from moclip.training.head_files import HeadFile
from moclip.video.motion_vectors import libavcodec_version

if TYPE_CHECKING:
    from moclip.encoders.clip import Encoder


_NUM_BEST = 5  # as in predictions.tsv


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What one method says of a video: logits float32 (K,), its temperature (None: uncalibrated), and the classes."""

    logits: NDArray[np.float32]
    temperature: float | None
    class_names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.class_names[int(rank_classes(self.logits[None])[0, 0])]

    def top(self, num_best: int, *, calibrated: bool = True) -> list[tuple[str, float]]:
        """Return (class, probability) pairs, best first; calibrated where there is a temperature."""
        temperature = (self.temperature or 1.0) if calibrated else 1.0
        probabilities = softmax(self.logits[None].astype(np.float64) / temperature)[0]
        order = rank_classes(self.logits[None])[0, :num_best]
        return [(self.class_names[index], float(probabilities[index])) for index in order]

    def cells(self) -> tuple[str, str, str]:
        """Return the three cells that predictions.tsv has for this method."""
        best = self.top(_NUM_BEST, calibrated=False)
        return best[0][0], f"{best[0][1]:.6f}", join_names([name for name, _ in best])


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a run says of a video.

    `status` is `ok`, or the reason why some method has no vote, and `detail` what was found; `votes` holds the others.
    `notes` say what is unlike the run's own videos.
    """

    video: str
    status: str
    detail: str
    votes: Mapping[str, Vote]
    notes: tuple[str, ...] = ()

    @property
    def vote(self) -> Vote:
        """The vote that counts: of fusion, where the run has it, else of the last method that could be asked.

        Raises:
            MoclipError: There is none.
        """
        if not self.votes:
            raise MoclipError(f"video {self.video}: no prediction: {self.status} {self.detail}")
        return list(self.votes.values())[-1]

    @property
    def label(self) -> str:
        """The class of `vote`."""
        return self.vote.label


@dataclass(frozen=True, kw_only=True)
class SegmentPrediction:
    """The prediction for a part of a video, and its begin and end in s."""

    start_seconds: float
    stop_seconds: float
    prediction: Prediction


class Predictor:
    """A finished run, or a bundle of one, ready to label videos.

    >>> from moclip import Predictor
    >>> predictor = Predictor("results/demo/experiments/fusion/split-1/seed-0")  # doctest: +SKIP
    >>> predictor.predict("video.mp4").label  # doctest: +SKIP
    'StarBouncing'
    """

    def __init__(self, run: str | Path, *, device: str = "") -> None:
        """Find and check the parts of a run: its folder, or that of a bundle. `device`: `cpu`, `cuda`, `auto`.

        Raises:
            MoclipError: A part is missing, or does not belong to the others.
        """
        folder = Path(run)
        is_bundle = (folder / BUNDLE_NAME).is_file()
        self.parts: RunParts = load_bundle(folder) if is_bundle else load_run(folder)
        self.device = device
        _check_models(self.parts)
        self._encoder: Encoder | None = None
        self._heads: HeadFile = self.parts.load_heads()
        self._classes: ClassEmbeddings | None = self.parts.load_classes()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their indices."""
        return self.parts.class_names

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of every prediction here: whether probabilities are calibrated, and other versions."""
        notes = []
        if self.parts.uncalibrated:
            notes.append(f"probabilities are plain softmax, not calibrated: expected {self.parts.uncalibrated}")
        made_by = self.parts.motion.libavcodec if self.parts.motion else ""
        if made_by and made_by != libavcodec_version():
            notes.append(
                f"vectors of B-frames may differ: the run's are by libavcodec {made_by}, here is {libavcodec_version()}"
            )
        return tuple(notes)

    def predict(self, video: str | Path) -> Prediction:
        """Return what the run says of one video. A file that cannot be read is a prediction without votes."""
        return next(self.predict_all([video]))

    def predict_all(self, videos: Sequence[str | Path], *, num_threads: int = 1) -> Iterator[Prediction]:
        """Yield what the run says of each video, in order; the files are read side by side with the models' work.

        Raises:
            MoclipError: A model cannot be loaded. A video that cannot be read raises nothing.
        """
        wanted = self._name(list(map(Path, videos)))
        needed = (self.parts.motion_network is not None) + (self.parts.appearance is not None)
        found: dict[str, list[StreamRow]] = {}
        waiting = deque(wanted)
        for entry in extract_streams(self.parts, wanted, num_threads=num_threads, device=self.device):
            found.setdefault(entry.row.video_id, []).append(entry)
            while waiting and len(found.get(waiting[0].video_id, ())) == needed:
                video = waiting.popleft()
                yield replace(self.judge(video.video_id, found.pop(video.video_id)), video=str(video.path))

    def _name(self, paths: Sequence[Path]) -> list[Video]:
        # An id for each: that of the dataset's own videos where the choice of frames follows from it. None twice.
        ids: dict[str, Path] = {}
        for path in paths:
            plain = str(path).encode("utf-8", "backslashreplace").decode()
            names = [*self.parts.find_ids(path), plain, *(f"{plain} ({number})" for number in range(2, len(paths) + 2))]
            ids[next(name for name in names if name not in ids)] = path
        return [Video(video_id=name, path=path, fingerprint="") for name, path in ids.items()]

    def predict_segments(
        self, video: str | Path, *, window_seconds: float, step_seconds: float
    ) -> Iterator[SegmentPrediction]:
        """Yield what the run says of windows over a long video, each as if it were a video of its own.

        Raises:
            VideoError: The video cannot be read.
        """
        if self._encoder is None:
            self._encoder = load_run_encoder(self.parts, device=self.device)
        windows = extract_windows(
            self.parts,
            Path(video),
            window_seconds=window_seconds,
            step_seconds=step_seconds,
            encoder=self._encoder,
            device=self.device,
        )
        for window in windows:
            said = self.judge(window.entries[0].row.video_id, window.entries)
            yield SegmentPrediction(
                start_seconds=window.start_seconds,
                stop_seconds=window.stop_seconds,
                prediction=replace(said, video=str(video), notes=(*said.notes, *window.notes)),
            )

    def judge(self, video_id: str, entries: Sequence[StreamRow]) -> Prediction:
        """Return what the run says of a video whose streams are given."""
        rows = {entry.stream: entry.row for entry in entries}
        streams = {name: stream_of([row]) for name, row in rows.items() if not row.reject_reason}
        votes: dict[str, Vote] = {}
        for method in self.parts.methods:
            if not set(METHODS[method].streams) <= streams.keys():
                continue
            scored = score_method(
                method,
                [video_id],
                streams=streams,
                motion_logits=partial(_motion_logits, rows),
                heads=self._heads,
                classes=self._classes,
                seed=0,
            )
            votes[method] = self._vote(method, scored.logits[0])
        rejected = next((row for row in rows.values() if row.reject_reason), None)
        return Prediction(
            video=video_id,
            status=rejected.reject_reason if rejected else "ok",
            detail=rejected.reject_detail if rejected else "",
            votes=votes,
            notes=tuple(self._notes_of(entries)),
        )

    def _vote(self, method: str, logits: NDArray[np.float32]) -> Vote:
        known = self.parts.temperatures.get(method)
        return Vote(logits=logits, temperature=known.value if known else None, class_names=self.parts.class_names)

    def _notes_of(self, entries: Sequence[StreamRow]) -> Iterator[str]:
        expected = self.parts.motion.variant.source if self.parts.motion else ""
        for entry in entries:
            if entry.source and expected == "original" and entry.source != "original":
                yield f"its codec hands out no vectors: those of a {entry.source} were used, unlike the run's own"


def _check_models(parts: RunParts) -> None:
    # A missing or unsuitable model is an error here, before the first video is read.
    if parts.appearance is not None:
        build_appearance_extractor(parts.appearance)
    if parts.motion_network is not None and parts.network is not None:
        build_motion_embedding_extractor(parts.motion_network, model=parts.network)


def _motion_logits(rows: Mapping[str, Row]) -> Any:
    return stream_of([rows["motion"]], field="logits")
