"""How fast `moclip predict` is, beside the stages that compute the same features.

python benchmarks/predict.py RUN FOLDER [--num-videos 60] [--repeats 3]

`motion` decodes vectors and embeds them, `appearance` decodes frames and embeds them, `predict` does both side by side
and scores them. Wall and processor seconds of one process, without the import of the libraries; medians of repeats that
take turns, so that what else the machine does meets all three alike. `both` is the sum of the two streams.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from moclip.dataset.layouts import walk_videos
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Video
from moclip.inference.predictor import Predictor
from moclip.inference.streams import extract_motion


def measure(action: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-videos", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    predictor = Predictor(options.run)
    found = sorted(options.folder / name for name, _ in walk_videos(options.folder))
    paths = found[:: max(1, len(found) // options.num_videos)][: options.num_videos]
    videos = [Video(video_id=str(path), path=path, fingerprint="") for path in paths]
    appearance = predictor.parts.appearance
    actions: dict[str, Callable[[], object]] = {
        "motion": lambda: list(extract_motion(predictor.parts, videos, device="")),
        "appearance": lambda: list(build_appearance_extractor(appearance).extract(videos)) if appearance else [],
        "predict": lambda: list(predictor.predict_all(paths)),
    }
    predictor.predict(paths[0])
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for _ in range(options.repeats):
        for name, action in actions.items():
            times[name].append(measure(action))
    medians = {
        name: [statistics.median(part) for part in zip(*entries, strict=True)] for name, entries in times.items()
    }
    medians["both"] = [medians["motion"][at] + medians["appearance"][at] for at in (0, 1)]
    for name, (wall, processor) in medians.items():
        rate = len(paths) / wall
        print(f"{name:>10}: {rate:6.1f} videos/s, {1000 * processor / len(paths):6.1f} ms of a processor a video")


if __name__ == "__main__":
    main()
