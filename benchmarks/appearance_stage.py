"""What a shard of frame embeddings costs beside the model alone, in one run.

    python benchmarks/appearance_stage.py FOLDER [--model ViT-B-32] [--num-videos 24] [--repeats 3]

`model` computes as many prepared batches as the stage needs, and nothing else. `stage` is a job of the workflow:
decode, prepare, compute, write to the cache, put the shard together; the model is loaded before. Both have one
thread for the model, and the stage one more for decoding. Seconds are the best of interleaved repeats: of the
processor, all threads together, which is what counts where a job has one core; and of the clock, which hides decoding
where a second core is free.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import moclip.encoders.clip
from moclip.config.settings import AppearanceVariant
from moclip.encoders.clip import Encoder, load_encoder
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import ShardJob, Video, extract_shard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--num-videos", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found = sorted(path for path in options.folder.rglob("*") if path.is_file())
    chosen = found[:: max(1, len(found) // options.num_videos)][: options.num_videos]
    videos = [Video(video_id=path.stem, path=path, fingerprint=path.stem) for path in chosen]
    variant = AppearanceVariant(model=options.model, untrained=True, batch_size=8)
    encoder = load_encoder(variant)
    prepared = encoder.prepare_images([np.zeros((240, 320, 3), np.uint8)] * 8)
    batches = -(-len(videos) // 8)
    encoder.tower.start(prepared)()
    # The stage takes the model that is loaded already, as a job of a whole shard all but does.
    moclip.encoders.clip.load_encoder = lambda wanted: reuse(encoder, wanted)
    runs: dict[str, Callable[[], Any]] = {
        "model": lambda: [encoder.tower.start(prepared)() for _ in range(batches)],
        "stage": lambda: run_stage(videos, variant=variant),
    }
    best = {name: (float("inf"), float("inf")) for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            processor, clock = time.process_time(), time.perf_counter()
            run()
            spent = time.process_time() - processor, time.perf_counter() - clock
            best[name] = (min(best[name][0], spent[0]), min(best[name][1], spent[1]))
    for place, what in enumerate(("processor", "clock")):
        model, stage = best["model"][place], best["stage"][place]
        print(f"{what:10} model {model:6.2f} s  stage {stage:6.2f} s  {100 * model / stage:.0f} % of the model's rate")


def reuse(encoder: Encoder, wanted: AppearanceVariant) -> Encoder:
    if encoder.variant != wanted:
        raise ValueError(f"expected {encoder.variant}, found {wanted}")
    return encoder


def run_stage(videos: list[Video], *, variant: AppearanceVariant) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output, cache = folder / "shard-0.h5", folder / "cache"
        job = ShardJob(dataset="d", root=folder, shard=0, num_shards=1, output=output, cache_dir=cache)
        extract_shard(build_appearance_extractor(variant), videos=videos, job=job)


if __name__ == "__main__":
    main()
