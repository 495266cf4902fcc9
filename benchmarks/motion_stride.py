"""What a coarser stride of accumulated fields costs in accuracy, and what it saves.

    python benchmarks/motion_stride.py VIDEO_OR_FOLDER ... [--num-videos 20] [--max-px 20]

Each argument is one line. A field of stride s is exact at its sample points; here each of them stands for its s x s px
and is compared with the field of every pixel, on 12 frames a video: the share of the values of the pixel code (8 bits,
`max_px` saturate) that differ, the mean difference in steps of that code, and the time as a share of that of stride 1.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from motion_decode import SUFFIXES
from numpy.typing import NDArray

from moclip.motion.fields import FieldSpec, build_fields, frames_with_motion, pixel_code
from moclip.motion.vectors import MotionVectors
from moclip.video.motion_vectors import read_motion

STRIDES = (2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--num-videos", type=int, default=20)
    parser.add_argument("--max-px", type=float, default=20.0)
    options = parser.parse_args()
    print(f"{'videos':26}" + "".join(f" | stride {s}: differ  steps   time" for s in STRIDES))
    for path in options.paths:
        every = [path] if path.is_file() else sorted(v for v in path.rglob("*") if v.suffix.lower() in SUFFIXES)
        chosen = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, options.num_videos).astype(int))]
        motions = [read_motion(video, video_id=video.stem) for video in chosen]
        print(f"{path.stem[:18]:18} ({len(chosen):4}) {line_of(motions, max_px=options.max_px)}", flush=True)


def line_of(motions: list[MotionVectors], *, max_px: float) -> str:
    differ, steps, seconds = dict.fromkeys(STRIDES, 0.0), dict.fromkeys(STRIDES, 0.0), dict.fromkeys((1, *STRIDES), 0.0)
    for motion in motions:
        index = frames_with_motion(motion)
        frames = index[np.linspace(0, len(index) - 1, 12).astype(int)]
        fields = {}
        for stride in (1, *STRIDES):
            start = time.process_time()
            fields[stride] = build_fields(motion, frames, spec=FieldSpec(stride=stride))
            seconds[stride] += time.process_time() - start
        exact = codes_of(fields[1], max_px=max_px)
        for stride in STRIDES:
            wide = fields[stride].repeat(stride, axis=1).repeat(stride, axis=2)
            height, width = (min(sizes) for sizes in zip(exact.shape[1:3], wide.shape[1:3], strict=True))
            off = np.abs(codes_of(wide, max_px=max_px)[:, :height, :width] - exact[:, :height, :width])
            differ[stride] += np.mean(off > 0) / len(motions)
            steps[stride] += np.mean(off) / len(motions)
    return "".join(f" |    {100 * differ[s]:10.1f} % {steps[s]:6.2f} {seconds[s] / seconds[1]:6.2f}" for s in STRIDES)


def codes_of(fields: NDArray[np.float32], *, max_px: float) -> NDArray[np.int16]:
    return np.round((pixel_code(fields, max_px=max_px) + 0.5) * 255).astype(np.int16)


if __name__ == "__main__":
    main()
