"""Time, memory, threads and GPUs that a job asks a scheduler for.

Time and memory follow the work, with room to spare, and double with each attempt; docs/cluster.md has the figures. The
engine asks again when the manifest exists, and before each attempt.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from moclip.core.machine import has_gpu
from moclip.workflow.plan import Plan

_START_SECONDS = 300  # a slow shared folder, imports, the weights of a large model


class JobResources:
    """What the jobs of a plan ask for, by rule and wildcards."""

    def __init__(self, plan: Plan, *, is_local: Callable[[], bool]) -> None:
        """Take the plan, and a function that returns whether jobs run on this machine."""
        self._config, self._signatures, self._is_local = plan.config, plan.signatures, is_local
        self._embedded = plan.embedded

    def minutes(self, seconds: float, attempt: int) -> int:
        """Return minutes for a job that is expected to compute for some seconds."""
        return math.ceil((_START_SECONDS + seconds) / 60) * int(2 ** (attempt - 1))

    def mem_mb(self, start: float, attempt: int, *, each: float = 0, shard: str | None = None) -> int:
        """Return megabytes for a job that holds the data of some videos on top of what it starts with."""
        return self._mem_mb(start + each * self._signatures.num_videos(shard), attempt)

    def embedding_mb(self, start: float, attempt: int, *, each: float, shard: str) -> int:
        """Return megabytes for a job that embeds the motion behind one shard of motion embeddings."""
        return self._mem_mb(start + each * self._num_embedded(shard), attempt)

    def _mem_mb(self, megabytes: float, attempt: int) -> int:
        return math.ceil(megabytes) * int(2 ** (attempt - 1))

    def _num_embedded(self, shard: str) -> int:
        return sum(self._signatures.num_videos(one) for one in self._embedded[int(shard)])

    def decoding_mb(self, start: float, attempt: int, *, each: float, shard: str) -> int:
        """Return megabytes for a job that decodes.

        A job that was killed may have met a video that needs too much memory. Its next attempt has room for that
        decoder to reach its own limit, so that the video is rejected by name and the rest of the shard continues.
        """
        enough = int(start + self._config["dataset"]["limits"]["memory_mb"]) if attempt > 1 else 0
        return max(self.mem_mb(start, attempt, each=each, shard=shard), enough)

    def _gpus(self, device: str) -> int:
        # One, unless the device is `cpu`, or `auto` where jobs run on this machine and it has none.
        if device == "auto" and self._is_local():
            return int(has_gpu())
        return int(device != "cpu")

    def encoder_gpus(self, variant: str) -> int:
        """Return the number of GPUs of an image encoder."""
        return self._gpus(self._config["appearance"][variant]["device"])

    def text_gpus(self, variant: str) -> int:
        """Return the number of GPUs of the encoder of a text variant."""
        return self.encoder_gpus(self._config["text"][variant]["appearance"])

    def network_gpus(self, variant: str) -> int:
        """Return the number of GPUs of a motion network."""
        return self._gpus(self._config["motion_network"][variant]["device"])

    def encoder_threads(self, variant: str) -> int:
        """Return the processors of an image encoder; with a GPU, decoding is the slower part."""
        return 4 if self.encoder_gpus(variant) else int(self._config["appearance"][variant]["threads"])

    def network_threads(self, variant: str) -> int:
        """Return the processors of a motion network: those that compute or, with a GPU, those that load batches."""
        entry = self._config["motion_network"][variant]
        return int(max(entry["threads"], entry["loaders"]))

    def motion_seconds(self, wildcards: Any) -> float:
        """Return seconds for a decode of every frame, or for a decode, an encode and a decode."""
        transcoded = self._config["motion"][wildcards.variant]["source"] == "transcode"
        return self._signatures.num_videos(wildcards.shard) * (4 if transcoded else 1)

    def appearance_seconds(self, wildcards: Any) -> float:
        """Return seconds for a decode up to the last chosen frame, and one pass of the image tower for each frame."""
        entry = self._config["appearance"][wildcards.variant]
        frames = 1 if entry["frames"]["policy"] == "middle" else entry["frames"]["count"]
        each = 0.1 if self._gpus(entry["device"]) else 1
        return float(self._signatures.num_videos(wildcards.shard) * (1 + frames * each))

    def embedding_seconds(self, wildcards: Any) -> float:
        """Return seconds for one pass of the network for each segment, crop and flip."""
        entry = self._config["motion_network"][wildcards.variant]
        test: Mapping[str, Any] = entry["embedding"]
        passes = test["num_segments"] * test["crops"] * (2 if test["flips"] else 1)
        passes += test["views"]["count"] * test["views"]["num_segments"]
        each = 0.02 if self._gpus(entry["device"]) else 0.2
        return float(self._num_embedded(wildcards.shard) * (1 + passes * each))

    def training_seconds(self, wildcards: Any) -> float:
        """Return seconds for a forward and a backward pass for each segment of each video, in every epoch."""
        entry = self._config["motion_network"][wildcards.variant]
        train = entry["train"]
        passes = train["epochs"] * train["num_segments"] * self._signatures.num_videos()
        return float(passes * (0.02 if self._gpus(entry["device"]) else 0.2))

    def batch_mb(self, wildcards: Any) -> float:
        """Return megabytes of a training batch on a processor: 93 MB a picture of 224 px for EfficientNet-B0."""
        entry = self._config["motion_network"][wildcards.variant]
        if self._gpus(entry["device"]):
            return 0
        pictures = entry["train"]["batch_size"] * entry["train"]["num_segments"]
        return float(pictures * 100 * (entry["input_px"] / 224) ** 2)
