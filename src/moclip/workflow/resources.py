"""Time, memory, threads and GPUs that a job asks a scheduler for.

Time and memory follow the work, with room to spare, and double with each attempt; docs/cluster.md has the figures. The
engine asks again when the manifest exists, and before each attempt.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant, MotionVariant
from moclip.core.machine import has_gpu
from moclip.workflow.plan import Plan

_START_SECONDS = 300  # a slow shared folder, imports, the weights of a large model

# The resources that each rule asks for; the others take the defaults of the profile.
RESOURCES: Mapping[str, tuple[str, ...]] = {
    "motion_shard": ("runtime", "mem_mb"),
    "appearance_shard": ("runtime", "mem_mb", "gpu"),
    "text": ("mem_mb", "gpu"),
    "motion_network": ("runtime", "mem_mb", "gpu"),
    "motion_embedding_shard": ("runtime", "mem_mb", "gpu"),
    "head": ("mem_mb",),
    "evaluate": ("mem_mb",),
}


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work of a job: its memory at the start and for each video in MB, its seconds, device and processors."""

    start_mb: float
    each_mb: float = 0
    num_videos: int = 0
    seconds: float = 0
    device: str = "cpu"
    threads: int = 1
    decodes: bool = False


class JobResources:
    """The requests of the jobs of a plan, by rule and wildcards."""

    def __init__(self, plan: Plan, *, is_local: Callable[[], bool]) -> None:
        """Take the plan, and a function that returns whether jobs run on this machine."""
        self._settings, self._embedded, self._is_local = plan.settings, plan.embedded, is_local
        self._num_videos = plan.signatures.num_videos

    def ask(self, rule: str, name: str, *, attempt: int = 1, **wildcards: str) -> int:
        """Return `threads`, `runtime` in minutes, `mem_mb` or `gpu` of a job in one of its attempts, from 1."""
        work = self._work(rule, **wildcards)
        if name == "threads":
            return work.threads
        if name == "gpu":
            return self._gpus(work.device)
        times = int(2 ** (attempt - 1))
        if name == "runtime":
            return math.ceil((_START_SECONDS + work.seconds) / 60) * times
        megabytes = math.ceil(work.start_mb + work.each_mb * work.num_videos) * times
        # A job that was killed may have met a video that needs too much memory. Its next attempt has room for that
        # decoder to reach its own limit, so that the video is rejected by name and the rest of the shard continues.
        limit = int(work.start_mb + self._settings.dataset.limits.memory_mb)
        return max(megabytes, limit) if work.decodes and attempt > 1 else megabytes

    def _work(self, rule: str, *, variant: str = "", shard: str = "", **_: str) -> _Work:
        if rule == "motion_shard":
            return self._decode_motion(self._settings.motion[variant], num_videos=self._num_videos(shard))
        if rule == "appearance_shard":
            return self._embed_frames(self._settings.appearance[variant], num_videos=self._num_videos(shard))
        if rule == "text":
            appearance = self._settings.appearance[self._settings.text[variant].appearance]
            return _Work(start_mb=6000, device=appearance.device)
        if rule == "motion_network":
            return self._train_network(self._settings.motion_network[variant])
        if rule == "motion_embedding_shard":
            num_videos = sum(map(self._num_videos, self._embedded[int(shard)]))
            return self._embed_motion(self._settings.motion_network[variant], num_videos=num_videos)
        # Rendering takes all threads that it gets, and the engine gives a local job no more than there are.
        threads = 8 if rule == "demo_dataset" else 1
        return _Work(start_mb=3000, each_mb=0.05, num_videos=self._num_videos(), threads=threads)

    def _gpus(self, device: str) -> int:
        # One, unless the device is `cpu`, or `auto` where jobs run on this machine and it has none.
        if device == "auto" and self._is_local():
            return int(has_gpu())
        return int(device != "cpu")

    def _decode_motion(self, entry: MotionVariant, *, num_videos: int) -> _Work:
        # A decode of every frame; or a decode, an encode and a decode.
        seconds = num_videos * (4 if entry.source == "transcode" else 1)
        return _Work(start_mb=1000, each_mb=2, num_videos=num_videos, seconds=seconds, decodes=True)

    def _embed_frames(self, entry: AppearanceVariant, *, num_videos: int) -> _Work:
        # A decode up to the last chosen frame, and one pass of the image tower for each frame. With a GPU, decoding is
        # the slower part.
        gpus = self._gpus(entry.device)
        frames = 1 if entry.frames.policy == "middle" else entry.frames.count
        return _Work(
            start_mb=6000,
            each_mb=2,
            num_videos=num_videos,
            seconds=num_videos * (1 + frames * (0.1 if gpus else 1)),
            device=entry.device,
            threads=4 if gpus else entry.threads,
            decodes=True,
        )

    def _train_network(self, entry: MotionNetworkVariant) -> _Work:
        # A forward and a backward pass for each segment of each video, in every epoch. On a processor a picture of
        # 224 px takes 93 MB in EfficientNet-B0.
        train, gpus, num_videos = entry.train, self._gpus(entry.device), self._num_videos()
        pictures = 0 if gpus else train.batch_size * train.num_segments
        return _Work(
            start_mb=8000 + pictures * 100 * (entry.input_px / 224) ** 2,
            each_mb=0.2,
            num_videos=num_videos,
            seconds=train.epochs * train.num_segments * num_videos * (0.02 if gpus else 0.2),
            device=entry.device,
            threads=_network_threads(entry),
        )

    def _embed_motion(self, entry: MotionNetworkVariant, *, num_videos: int) -> _Work:
        # One pass of the network for each segment, crop and flip, and for each segment of an augmented view.
        own = entry.embedding
        passes = own.num_segments * own.crops * (2 if own.flips else 1) + own.views.count * own.views.num_segments
        return _Work(
            start_mb=4000,
            each_mb=2,
            num_videos=num_videos,
            seconds=num_videos * (1 + passes * (0.02 if self._gpus(entry.device) else 0.2)),
            device=entry.device,
            threads=_network_threads(entry),
        )


def _network_threads(entry: MotionNetworkVariant) -> int:
    # Those that compute or, with a GPU, those that load batches.
    return max(entry.threads, entry.loaders)
