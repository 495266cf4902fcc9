"""The command `moclip draw`: the motion of videos as pictures."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cli.formatting import add_command
from moclip.errors import MoclipError

if TYPE_CHECKING:
    from moclip.report.motion import DrawingSpec


_MAX_FRAMES = 100

_TEXT = """\
examples:
  moclip draw video.mp4 --output motion.html
  moclip draw *.mp4 --png pictures --at 12,40,80 --window 8

Draws block vectors over frames, raw and accumulated fields, and the pixel code of a network.
exit code: 0 all drawn, 1 some not (named on stderr and on the page), 2 none, or the command is wrong
"""


def add_draw_command(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `draw` to the commands of a parser."""
    title = "draw the motion of videos: block vectors over frames, and the fields a network sees"
    usage = "moclip draw VIDEO... (--output PAGE.html | --png FOLDER) [options]"
    draw = add_command(commands, "draw", summary=title, text=_TEXT, run=_draw, usage=usage)
    draw.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files")
    draw.add_argument("--output", type=Path, metavar="PAGE.html", help="write one page that opens offline")
    draw.add_argument("--png", type=Path, metavar="FOLDER", help="write every picture as a PNG file")
    which = draw.add_mutually_exclusive_group()
    which.add_argument(
        "--frames", type=int, default=4, metavar="N", help="frames a video, spread over those with motion (default: 4)"
    )
    which.add_argument("--at", metavar="K,K,...", help="these frames instead, counted from 0")
    draw.add_argument(
        "--source",
        choices=("original", "transcode", "auto"),
        default="auto",
        help="vectors of the file, of a transcode in memory, or of the file where it has any (default: auto)",
    )
    draw.add_argument(
        "--window", type=int, default=0, help="frames to accumulate over; 0: since the keyframe (default)"
    )
    draw.add_argument("--stride", type=int, choices=(1, 2, 4, 8), default=1, help="px between samples (default: 1)")
    draw.add_argument("--compensate-camera", action="store_true", help="subtract the motion of the camera")
    draw.add_argument("--upright", action="store_true", help="apply the rotation in the file to pictures and fields")


def _draw(options: argparse.Namespace) -> None:
    spec = _spec_of(options)
    # Imported here: FFmpeg, HDF5 and pandas take most of a second, which `moclip --help` need not wait for.
    from moclip.report.draw import draw_files  # noqa: PLC0415

    drawn = draw_files(options.videos, source=options.source, spec=spec, page=options.output, folder=options.png)
    for video in drawn.failed:
        print(f"error: {video.reason}", file=sys.stderr)
    print(f"written: {', '.join(str(path) for path in (options.output, options.png) if path)}")
    if drawn.failed:
        sys.exit(1)


def _spec_of(options: argparse.Namespace) -> "DrawingSpec":
    if options.output is None and options.png is None:
        raise MoclipError("moclip draw: expected --output PAGE.html, --png FOLDER or both, found neither")
    if options.output is not None and (options.output.suffix not in {".html", ".htm"} or options.output.is_dir()):
        raise MoclipError(f"--output: expected a file that ends in .html, found {options.output}")
    if options.png is not None and options.png.exists() and not options.png.is_dir():
        raise MoclipError(f"--png: expected a folder, found the file {options.png}")
    if not 1 <= options.frames <= _MAX_FRAMES:
        raise MoclipError(f"--frames: expected 1 to {_MAX_FRAMES} frames, found {options.frames}")
    if options.window < 0:
        raise MoclipError(f"--window: expected a number of frames, or 0 for the keyframe, found {options.window}")
    from moclip.motion.fields import FieldSpec  # noqa: PLC0415
    from moclip.report.motion import DrawingSpec  # noqa: PLC0415

    field = FieldSpec(
        window=options.window or None,
        stride=options.stride,
        compensate_camera=options.compensate_camera,
        upright=options.upright,
    )
    return DrawingSpec(field=field, num_frames=options.frames, frame_indices=_parse_frames(options.at))


def _parse_frames(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words) or len(set(words)) > _MAX_FRAMES:
        raise MoclipError(f"--at: expected up to {_MAX_FRAMES} frames such as 12,40,80, found {text!r}")
    return tuple(sorted({int(word) for word in words}))
