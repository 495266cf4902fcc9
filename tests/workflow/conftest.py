"""A small data set of moving squares, and the workflow run on it in a folder of its own."""

import copy
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from moclip.video.writer import write_video
from tests.workflow.warm import warm_python

if TYPE_CHECKING:
    from tests.workflow.checkout import Checkout

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = {"MovingDown": (0, 3), "MovingRight": (3, 0)}


def write_square(path: Path, *, step_px: tuple[int, int], seed: int, num_frames: int = 12) -> None:
    """Write some frames of a textured square that moves over a textured ground."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 255, (64, 80, 3), dtype=np.uint8)
    square = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    left, top = (int(x) for x in rng.integers(4, 12, 2))
    frames = []
    for number in range(num_frames):
        frame = ground.copy()
        y, x = top + number * step_px[1], left + number * step_px[0]
        place = frame[y : y + 16, x : x + 16]
        place[...] = square[: place.shape[0], : place.shape[1]]
        frames.append(frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, codec="mpeg4" if seed % 2 else "h264", frame_rate=25, gop=12, max_b_frames=0)


def write_toy_videos(root: Path, *, num_per_class: int = 8) -> None:
    """Write the videos of every class, in the layout `folders`."""
    for number, (class_name, step) in enumerate(CLASSES.items()):
        for video in range(num_per_class):
            suffix = "avi" if video % 2 else "mp4"
            write_square(root / class_name / f"v{video}.{suffix}", step_px=step, seed=100 * number + video)


def toy_config() -> dict[str, Any]:
    """Return a configuration that runs in seconds."""
    return {
        "dataset": {
            "name": "toy",
            "layout": "folders",
            "root": "videos",
            "num_shards": 2,
            "test_fraction": 0.25,
            "validation_fraction": 0.25,
        },
        "motion": {"original": {}},
        "appearance": {"clip": {"model": f"local-dir:{REPOSITORY / 'resources/demo-clip'}", "device": "auto"}},
        "text": {
            "words": {
                "appearance": "clip",
                "templates": str(REPOSITORY / "config/prompts/templates.yaml"),
                "phrases": "from_class_names",
            }
        },
        "motion_network": {
            "tiny": {
                "motion": "original",
                "field": {"kind": "accumulated", "window": 4, "stride": 4},
                "backbone": "test_efficientnet",
                "weights": "none",
                "input_px": 32,
                "train": {"epochs": 2, "batch_size": 8, "num_segments": 2},
                "embedding": {"num_segments": 2},
            }
        },
        "head": {"mlp": {"epochs": 3, "hidden": 16}},
        "experiments": {
            "fusion": {
                "appearance": "clip",
                "motion_network": "tiny",
                "text": "words",
                "head": "mlp",
                "splits": [1],
                "seeds": [0],
            }
        },
    }


@dataclass
class Project:
    """A working folder with videos and a configuration."""

    folder: Path
    config: dict[str, Any]

    def run(self, *arguments: str, check: bool = True) -> "Ran":
        """Run the workflow as a user does, and return what it did."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--workflow-profile", str(REPOSITORY / "workflow/profiles/default")]
        command += ["--configfile", "config.yaml", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=600)
        ran = Ran(code=done.returncode, output=done.stdout + done.stderr)
        assert not check or ran.code == 0, ran.output
        return ran

    def computed(self, stage: str) -> int:
        """Return how many rows the jobs of a stage computed, by the logs of the last run of each shard."""
        found = (re.findall(r"(\d+) rows computed", log.read_text()) for log in self.logs(stage))
        return sum(int(numbers[-1]) for numbers in found if numbers)

    def logs(self, stage: str) -> list[Path]:
        """Return the logs of the shards of a stage."""
        return sorted((self.folder / "logs/toy" / stage).rglob("shard-*.log"))

    def results(self) -> Path:
        """Return the folder of results."""
        return self.folder / "results/toy"

    def copy(self, folder: Path) -> "Project":
        """Return a copy of the project in another folder.

        The times of change of its videos are new, so its manifest is made again here and not in the run of a test.
        """
        shutil.copytree(self.folder, folder, symlinks=True)
        copied = Project(folder=folder, config=copy.deepcopy(self.config))
        copied.run("--", "results/toy/manifest.tsv")
        return copied


@dataclass(frozen=True)
class Ran:
    """What one run of the workflow did."""

    code: int
    output: str

    @property
    def jobs(self) -> Counter[str]:
        """How many jobs of each rule were started; `all` aside."""
        found = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", self.output, flags=re.MULTILINE)
        return Counter(name for name in found if name != "all")


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python that starts at once."""
    with warm_python(tmp_path_factory.mktemp("warm"), hash_seed=1) as python:
        yield python


@pytest.fixture(scope="session")
def built_checkout(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> "Checkout":
    """A checkout of its own with models that take no time, whose workflow has run; copy it before changing it."""
    from tests.workflow.checkout import new_checkout  # noqa: PLC0415 (which imports this module)

    made = new_checkout(tmp_path_factory.mktemp("built") / "checkout", python=warm)
    made.run()
    return made


def run_toy(folder: Path) -> Project:
    """Return a project in a new folder, whose workflow has run to its end."""
    folder.mkdir()
    write_toy_videos(folder / "videos")
    project = Project(folder=folder, config=toy_config())
    project.run()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, to change at will."""
    return finished.copy(tmp_path / "project")
