"""The commands `moclip draw` and `moclip figures`: the motion of videos, and results, as pictures."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cli.formatting import add_command
from moclip.errors import MoclipError

if TYPE_CHECKING:
    from moclip.pictures.videos import DrawingSpec


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
    for reason in drawn.failed:
        print(f"error: {reason}", file=sys.stderr)
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
    from moclip.pictures.videos import DrawingSpec  # noqa: PLC0415

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


_FIGURES_TEXT = """\
examples:
  moclip figures results/demo
  moclip figures results/demo --style slides --output slides
  moclip figures results/demo --font "Times New Roman" --points 8 --column 3.25

Draws the figures of finished results again, as PDF and PNG, with their numbers as TSV. The workflow stores them in the
style `paper` in results/<dataset>/figures.
"""


def add_figures_command(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `figures` to the commands of a parser."""
    title = "draw the figures of results as PDF and PNG, for a paper or for slides"
    figures = add_command(commands, "figures", summary=title, text=_FIGURES_TEXT, run=_draw_figures)
    figures.add_argument("results", type=Path, help="folder of a dataset's results, such as results/demo")
    figures.add_argument("--style", choices=("paper", "slides"), default="paper", help="sizes (default: paper)")
    figures.add_argument("--output", type=Path, default=Path("figures"), metavar="FOLDER", help="default: figures")
    figures.add_argument("--font", default="", metavar="NAME", help="font of the text (default: DejaVu Sans)")
    figures.add_argument("--points", type=float, metavar="N", help="size of the text in points (paper: 7.5)")
    figures.add_argument("--column", type=float, metavar="INCHES", help="width of a column (paper: 3.35)")


def _draw_figures(options: argparse.Namespace) -> None:
    for name, low, high in (("points", 3, 72), ("column", 1, 40)):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise MoclipError(f"--{name}: expected {low} to {high}, found {value:g}")
    if options.output.exists() and not options.output.is_dir():
        raise MoclipError(f"--output: expected a folder, found the file {options.output}")
    if options.output.resolve() == (options.results / "figures").resolve():
        raise MoclipError(f"--output: {options.output} belongs to the workflow; name another folder")
    # Imported here: matplotlib takes a second, which `moclip --help` need not wait for.
    from moclip.report.figures import STYLES, check_font  # noqa: PLC0415
    from moclip.report.results import write_figures  # noqa: PLC0415

    style = STYLES[options.style]
    if options.font:
        check_font(options.font)
    column = options.column or style.column_inches
    page = style.page_inches * column / style.column_inches
    style = replace(
        style,
        font=options.font,
        font_points=options.points or style.font_points,
        column_inches=column,
        page_inches=page,
    )
    names = write_figures(options.output, results=options.results, style=style)
    print(f"written: {len(names)} figures in {options.output}: {', '.join(names)}")
