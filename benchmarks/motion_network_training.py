"""What share of a training step the making of its batch takes, and how long the network waits for it.

    python benchmarks/motion_network_training.py VIDEOS [--num-videos 40] [--step-videos 4] [--device cpu] ...

VIDEOS is a folder of videos; some, spread over it, are transcoded as the authors' code asks for (MPEG-4, 340x256, GOP
12) and held in memory as packed as in a shard. Then, with EfficientNet-B0 and the recipe of config/ucf101.yaml (3
segments, exact accumulated fields, multi-scale crops to 224 px, mirroring):

1. making: processor seconds of the vectors, fields and crops of one video, on one thread;
2. step: seconds of forward, backward and Adam for one video; processor seconds where one thread of a CPU does it.
   `--step-videos` go through at a time (80 of 3 crops take more memory than small machines have; the time a video does
   not grow with their number);
3. waiting: seconds that an epoch over these videos waits for its batches, `--loaders` threads making them meanwhile.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from motion_decode import SUFFIXES

from moclip.config.validation import check_config
from moclip.encoders.motion_input import draw_view
from moclip.encoders.runtime import prepare_torch
from moclip.motion.vectors import motion_from_row
from moclip.training import motion_network as motion_training
from moclip.training.motion_data import Sample, draw_batches
from moclip.video.motion_vectors import read_motion

REPOSITORY = Path(__file__).resolve().parents[1]
BATCH = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--num-videos", type=int, default=40)
    parser.add_argument("--step-videos", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loaders", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    prepare_torch(threads=options.threads)
    samples = load_samples(options.videos, count=options.num_videos)
    trainer = build_trainer(options)
    making = time_making(samples, trainer=trainer)
    step, waiting = time_epoch(samples, trainer=trainer, on_one_core=options.device == "cpu" and options.threads == 1)
    print(f"making a batch of {BATCH}: {BATCH * making:.2f} s on one thread ({1e3 * making:.1f} ms a video)")
    print(
        f"a step on it:          {BATCH * step:.2f} s ({3 / step:.1f} crops/s, {options.step_videos} videos at a time)"
    )
    print(f"share of the step:     {100 * making / step:.2f} % if nothing overlapped")
    print(f"waited for batches:    {100 * waiting / (step + waiting):.2f} % of the epoch, {options.loaders} loaders")
    if options.device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on {torch.cuda.get_device_name()}")


def load_samples(folder: Path, *, count: int) -> list[Sample]:
    every = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = every[:: max(1, len(every) // count)][:count]
    rows = [vars(read_motion(path, video_id=path.stem, source="transcode")) for path in chosen]
    return [
        Sample(video_id=f"v{number}", class_index=number % 101, motion=partial(motion_from_row, row))
        for number, row in enumerate(rows)
    ]


def build_trainer(options: argparse.Namespace) -> Any:
    config = check_config(yaml.safe_load((REPOSITORY / "config/ucf101.yaml").read_text())).canonical()
    variant = config["motion_network"]["efficientnet-b0"]
    variant |= {"weights": "none", "device": options.device, "loaders": options.loaders}
    variant["train"] |= {"batch_size": options.step_videos, "precision": options.precision}
    return motion_training._Trainer(num_classes=101, variant=variant, seed=0)


def time_making(samples: list[Sample], *, trainer: Any) -> float:
    start = time.process_time()
    for number, sample in enumerate(samples):
        draw_view(sample.motion(), config=trainer.fields, how=trainer.config.augmentation, seed=number)
    return (time.process_time() - start) / len(samples)


def time_epoch(samples: list[Sample], *, trainer: Any, on_one_core: bool) -> tuple[float, float]:
    """Return the seconds a video of stepping and of waiting, in an epoch after one step that warms up."""
    # Loaders are threads of their own, whose processor time does not count as this one's.
    clock = time.thread_time if on_one_core else time.perf_counter
    trainer._train(1, samples[: trainer.config.batch_size])
    waited = [0.0]

    def timed(*arguments: Any, **named: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batches = draw_batches(*arguments, **named)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            waited[0] += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    motion_training.draw_batches = timed
    start = clock()
    trainer._train(2, samples)
    whole = clock() - start
    step = whole if on_one_core else whole - waited[0]
    return step / len(samples), waited[0] / len(samples)


if __name__ == "__main__":
    main()
