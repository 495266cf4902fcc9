"""How large the report of a data set as large as UCF101 is, and how long it takes to build, on made-up runs.

    python benchmarks/report_size.py [--experiments 2] [--splits 1] [--seeds 3] [--page FILE]

101 classes, 3,783 test videos, every method, and 200 mistakes asked for, each with a picture of random noise, which no
JPEG of its size surpasses. Prints the size of the page, the mistakes shown, and the seconds that `build_report`
takes once tables and metrics are there.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.unit.report.test_results import made_request

from moclip.core.images import jpeg_uri
from moclip.report.mistakes import find_mistakes, fit_pictures, read_predictions
from moclip.report.results import build_report

NUM_CLASSES, NUM_TESTS, NUM_MISTAKES = 101, 3783, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("experiments", 2), ("splits", 1), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--page", type=Path, help="where to write the page")
    wanted = parser.parse_args()
    names = tuple(f"ClassOfALongName{index:03d}" for index in range(NUM_CLASSES))
    splits, seeds = list(range(1, wanted.splits + 1)), list(range(wanted.seeds))
    grids = {f"experiment-{number}": (splits, seeds) for number in range(wanted.experiments)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        request = made_request(folder, names=names, grids=grids, num_tests=NUM_TESTS)
        tables = [read_predictions(path) for path in sorted(folder.glob("experiment-0/split-*/seed-*/predictions.tsv"))]
        found = find_mistakes(tables, experiment="experiment-0", number=NUM_MISTAKES)
        noise = jpeg_uri(np.random.default_rng(0).integers(0, 255, (360, 480, 3), dtype=np.uint8))
        shown = fit_pictures(found, drawn={one["video_id"]: {"picture": noise} for one in found["shown"]})
        started, processor = time.perf_counter(), time.process_time()
        page = build_report("made up", **{**request, "mistakes": shown})
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        if wanted.page:
            wanted.page.write_text(page, encoding="utf-8")
    print(
        f"{wanted.experiments} experiments x {wanted.splits} splits x {wanted.seeds} seeds, {NUM_TESTS:,} test videos"
    )
    pictures = sum(len(mistake["picture"]) for mistake in shown["shown"])
    print(f"page {len(page.encode()) / 1e6:.2f} MB, of it pictures {pictures / 1e6:.2f} MB")
    print(f"mistakes shown {len(shown['shown'])} of {found['num_wrong']:,}")
    print(f"build_report {seconds:.2f} s, processor {processor:.2f} s")


if __name__ == "__main__":
    main()
