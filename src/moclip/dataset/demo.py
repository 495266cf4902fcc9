"""Build the rendered datasets `demo` and `order`: videos, a class list and three splits, laid out like UCF101."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from moclip.core.code_digest import code_digest
from moclip.core.files import replace_atomically
from moclip.dataset.demo_order import ORDER_CLASSES, render_order_video
from moclip.dataset.demo_rendering import (
    MOTIONS,
    OBJECTS,
    Picture,
    Theme,
    build_badge,
    build_theme,
    class_name_of,
    render_video,
)
from moclip.errors import DatasetError
from moclip.video.writer import VideoCodec, write_video

DEMO_VERSION = 1  # raise when the videos of a seed change in what they show

STREAM = 0xD3110  # the random numbers of these videos; the demo's CLIP was trained on another stream

CLASS_NAMES = tuple(class_name_of(name, motion=motion) for name, motion in product(OBJECTS, MOTIONS))

NUM_GROUPS = 12

# Split -> the groups that are its test set; a group is one place, and all classes are filmed there.
TEST_GROUPS = {1: range(1, 5), 2: range(5, 9), 3: range(9, 13)}

FRAME_RATE, GOP = 25, 250  # one keyframe a video

NUM_FRAMES = (32, 40)

SUFFIXES: dict[VideoCodec, str] = {"h264": ".mp4", "mpeg4": ".avi"}

MAX_B_FRAMES: dict[VideoCodec, int] = {"h264": 2, "mpeg4": 0}


@dataclass(frozen=True, kw_only=True)
class DemoVideo:
    """One video to be made: `group` and `clip` count from 1, as in UCF101's names."""

    class_name: str
    group: int
    clip: int
    codec: VideoCodec

    @property
    def path(self) -> str:
        """The path below the folder of videos."""
        name = f"v_{self.class_name}_g{self.group:02d}_c{self.clip:02d}{SUFFIXES[self.codec]}"
        return f"{self.class_name}/{name}"


@dataclass(frozen=True, kw_only=True)
class RenderedSet:
    """A rendered dataset: its classes, its codecs in turn, and the frames of a video of a seed in a place."""

    class_names: tuple[str, ...]
    clips_per_group: int
    codecs: tuple[VideoCodec, ...]
    render: Callable[[DemoVideo, Theme, int], Iterator[Picture]]


def _render_demo(video: DemoVideo, theme: Theme, seed: int) -> Iterator[Picture]:
    class_index = CLASS_NAMES.index(video.class_name)
    rng = np.random.default_rng([STREAM, seed, 1, class_index, video.group, video.clip])
    num_frames = int(rng.integers(NUM_FRAMES[0], NUM_FRAMES[1] + 1))
    object_name, motion = list(product(OBJECTS, MOTIONS))[class_index]
    badge = build_badge(rng, object_name=object_name)
    return render_video(rng, theme=theme, badge=badge, motion=motion, num_frames=num_frames)


def _render_order(video: DemoVideo, theme: Theme, seed: int) -> Iterator[Picture]:
    rng = np.random.default_rng([STREAM, seed, 2, video.group, video.clip])  # the same for all classes
    return render_order_video(rng, theme=theme, class_name=video.class_name)


RENDERED = {
    "demo": RenderedSet(class_names=CLASS_NAMES, clips_per_group=2, codecs=("mpeg4", "h264"), render=_render_demo),
    "order": RenderedSet(class_names=ORDER_CLASSES, clips_per_group=6, codecs=("h264",), render=_render_order),
}


def build_demo_dataset(root: Path, *, kind: str = "demo", seed: int, num_workers: int) -> Path:
    """Return `root`, which then holds `videos/`, `lists/` and `recipe.json`: all videos and lists of a kind and seed.

    What an earlier call finished stays, so long as it was made by the same recipe (kind, seed, code, libraries);
    otherwise the folder of videos is made again. The same recipe on the same machine gives the same bytes.

    Raises:
        DatasetError: `root` holds videos that were not made here.
        ValueError: `num_workers` is below 1.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers: expected at least 1, got {num_workers}")
    videos = list_demo_videos(kind)
    _claim(root, recipe=_recipe(kind, seed=seed))
    for name, text in build_lists(videos, class_names=RENDERED[kind].class_names).items():
        with replace_atomically(root / "lists" / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    jobs = [(root / "videos" / video.path, kind, video, seed) for video in videos]
    missing = [job for job in jobs if not job[0].exists()]
    for _ in tqdm(_run(missing, num_workers=num_workers), total=len(missing), desc=f"{kind} videos", mininterval=2):
        pass
    return root


def list_demo_videos(kind: str = "demo") -> tuple[DemoVideo, ...]:
    """Return every video of a set, sorted by class; the clips of a class and group take its codecs in turn."""
    chosen = RENDERED[kind]
    clips = product(enumerate(chosen.class_names), range(1, NUM_GROUPS + 1), range(1, chosen.clips_per_group + 1))
    return tuple(
        DemoVideo(
            class_name=class_name,
            group=group,
            clip=clip,
            codec=chosen.codecs[(index // len(MOTIONS) + index + group + clip) % len(chosen.codecs)],
        )
        for (index, class_name), group, clip in clips
    )


def build_lists(videos: Sequence[DemoVideo], *, class_names: Sequence[str] = CLASS_NAMES) -> dict[str, str]:
    """Return file name -> text of the class list and of the train and test lists, in UCF101's format."""
    numbers = {name: number for number, name in enumerate(class_names, start=1)}
    lists = {"classInd.txt": "".join(f"{number} {name}\n" for name, number in numbers.items())}
    for split, groups in TEST_GROUPS.items():
        train = [f"{video.path} {numbers[video.class_name]}\n" for video in videos if video.group not in groups]
        test = [f"{video.path}\n" for video in videos if video.group in groups]
        lists |= {f"trainlist{split:02d}.txt": "".join(train), f"testlist{split:02d}.txt": "".join(test)}
    return lists


def write_demo_video(path: Path, *, kind: str = "demo", video: DemoVideo, seed: int) -> None:
    """Render and encode one video; the file appears under its name when it is complete."""
    theme = build_theme(np.random.default_rng([STREAM, seed, 0, video.group]))
    frames = RENDERED[kind].render(video, theme, seed)
    with replace_atomically(path, suffix=path.suffix) as temporary:
        write_video(
            temporary,
            frames,
            codec=video.codec,
            frame_rate=FRAME_RATE,
            gop=GOP,
            max_b_frames=MAX_B_FRAMES[video.codec],
        )


_Job = tuple[Path, str, DemoVideo, int]


def _recipe(kind: str, *, seed: int) -> str:
    libraries = {name: version(name) for name in ("av", "numpy")}
    parts = {"demo_version": DEMO_VERSION, "kind": kind, "seed": seed, "code": code_digest(Path(__file__)), **libraries}
    return json.dumps(parts, indent=2, sort_keys=True) + "\n"


def _claim(root: Path, *, recipe: str) -> None:
    """Make `root` a folder whose videos, as far as there are any, follow the recipe."""
    stamp, folder = root / "recipe.json", root / "videos"
    if folder.exists() and not stamp.exists():
        raise DatasetError(f"{folder}: expected a new folder, found one that the demo did not make; name another root")
    if folder.exists() and stamp.read_text(encoding="utf-8") != recipe:
        with replace_atomically(stamp) as temporary:
            temporary.write_text("{}\n", encoding="utf-8")  # still ours if this is cut short
        shutil.rmtree(folder)
    with replace_atomically(stamp) as temporary:
        temporary.write_text(recipe, encoding="utf-8")
    for unfinished in folder.glob("*/.*"):
        unfinished.unlink()


def _run(jobs: Sequence[_Job], *, num_workers: int) -> Iterator[None]:
    """Do the jobs and yield once for each that is done."""
    if num_workers == 1 or len(jobs) <= 1:
        yield from map(_do, jobs)
        return
    # A forked worker needs nothing of the caller's main module, which may be a script that does not bear an import.
    pool = ProcessPoolExecutor(num_workers, mp_context=get_context("fork"))
    try:
        yield from pool.map(_do, jobs, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _do(job: _Job) -> None:
    path, kind, video, seed = job
    write_demo_video(path, kind=kind, video=video, seed=seed)
