"""Take the pictures of the docs from the results of the demo: docs/figures/report-{light,dark}.webp and motion.webp.

    make demo && .venv/bin/python tools/take_pictures.py

Needs Chromium or Chrome. Pictures of the report show its first section, and differ by a few numbers between processors.
"""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs/figures"
RESULTS = REPOSITORY / "results/demo"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCHEMES = {"dark": 0, "light": 1}
PAGE_SIZE = (1100, 915)

VIDEO = "StarBouncing/v_StarBouncing_g01_c01.mp4"
FRAME = 15
LARGE = (640, 480)
SMALL = (314, 235)
GAP = 10


def find_browser() -> str:
    """Return the path of a browser.

    Raises:
        SystemExit: None is installed.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit(f"error: expected one of {', '.join(BROWSERS)}, found none; install one")
    return found


def take_report(report: Path, *, scheme: str, browser: str) -> Image.Image:
    """Return the top of the report as a browser shows it in a color scheme."""
    with TemporaryDirectory() as folder:
        shot = Path(folder) / "report.png"
        options = [f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--screenshot={shot}"]
        options += ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        size = ",".join(map(str, PAGE_SIZE))
        command = [browser, *options, f"--window-size={size}", report.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return Image.open(shot).convert("RGB")


def take_motion(video: Path) -> Image.Image:
    """Return block vectors over a frame, and to their right the raw field above the accumulated one."""
    with TemporaryDirectory() as folder:
        options = ["--png", folder, "--at", str(FRAME), "--window", "8"]
        moclip = shutil.which("moclip", path=str(REPOSITORY / ".venv/bin")) or "moclip"
        subprocess.run([moclip, "draw", str(video), *options], check=True, capture_output=True)
        stem = f"{folder}/{video.stem}-frame-{FRAME:04d}"
        vectors, raw, accumulated = (
            Image.open(f"{stem}-{name}.png").convert("RGB") for name in ("vectors", "raw", "accumulated")
        )
    picture = Image.new("RGBA", (LARGE[0] + GAP + SMALL[0], LARGE[1]))
    picture.paste(vectors.resize(LARGE, Image.Resampling.LANCZOS), (0, 0))
    picture.paste(raw.resize(SMALL, Image.Resampling.NEAREST), (LARGE[0] + GAP, 0))
    picture.paste(accumulated.resize(SMALL, Image.Resampling.NEAREST), (LARGE[0] + GAP, LARGE[1] - SMALL[1]))
    return picture


def take_all() -> None:
    """Take every picture and write it as WebP."""
    browser = find_browser()
    for scheme in SCHEMES:
        picture = take_report(RESULTS / "report.html", scheme=scheme, browser=browser)
        picture.save(FOLDER / f"report-{scheme}.webp", lossless=True, method=6)
    take_motion(RESULTS / "dataset/videos" / VIDEO).save(FOLDER / "motion.webp", quality=88, method=6)


if __name__ == "__main__":
    take_all()
