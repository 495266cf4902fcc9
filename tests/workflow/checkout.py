"""A checkout of one's own, with models that take no time: what each change reruns, to the rule and to the row."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.workflow.conftest import REPOSITORY, Ran, toy_config, write_square

CLASS_NAMES = ("MovingRight", "MovingDown")
SUFFIXES = ("mp4", "avi")
NUM_VIDEOS = 16
STAND_INS = Path(__file__).parent / "stand_ins"
_ENCODER_CONFIG = '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}\n'
_TO_COMPUTE = re.compile(r"to compute: (.+)$", flags=re.MULTILINE)


def build_checkout(folder: Path) -> None:
    """Copy what the workflow runs, and lay the stand-ins over the models."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "workflow", "config", "Snakefile", "environment.yml"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    for path in STAND_INS.glob("[!_]*.py"):
        shutil.copy2(path, folder / "src/moclip" / path.name)


def write_clip(path: Path, *, number: int) -> None:
    """Write a video that is like no other: its number says how long it is, and where its square moves."""
    write_square(path, step_px=((3, 0), (0, 3))[number % 2], seed=number, num_frames=9 + number)


def subset_of(number: int) -> str:
    """Return the subset of a video in the first split: half of each class train, a quarter each val and test."""
    return ("train", "train", "val", "test")[number // 2 % 4]


def quick_config() -> dict[str, Any]:
    """Return the configuration of the toy, with weights and prompts of its own to change."""
    config = toy_config()
    config["appearance"]["clip"]["model"] = "local-dir:weights"
    config["text"]["words"]["templates"] = "prompts/templates.yaml"
    config["head"]["mlp"]["epochs"] = 1
    config["report"] = {"pictures": 1, "picture_frames": 2, "mistakes": 1}
    config["dataset"] |= {"layout": "table", "lists": "videos.csv"}
    for unused in ("test_fraction", "validation_fraction"):
        del config["dataset"][unused]
    return config


@dataclass
class Checkout:
    """A working folder (`project`) beside a checkout of the code (`code`)."""

    folder: Path
    config: dict[str, Any]
    # What runs it: the Python of the tests, or one that starts at once (`warm`).
    python: str = sys.executable

    @property
    def project(self) -> Path:
        """The folder that the workflow runs in."""
        return self.folder / "project"

    @property
    def code(self) -> Path:
        """The folder of the code that is run."""
        return self.folder / "code"

    @property
    def videos(self) -> Path:
        """The root of the dataset."""
        return self.project / self.config["dataset"]["root"]

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.project / "results/toy"

    def listed(self, num_videos: int = NUM_VIDEOS) -> list[str]:
        """Return the paths of the first videos, below the root."""
        return [f"{CLASS_NAMES[n % 2]}/v{n}.{SUFFIXES[n % 2]}" for n in range(num_videos)]

    def write_lists(self, subsets: dict[str, str]) -> None:
        """Write the table of videos: the class is the folder, the subset that of the only split."""
        lines = [f"{path},{path.split('/')[0]},{subset}" for path, subset in sorted(subsets.items())]
        (self.project / "videos.csv").write_text("\n".join(["video,class,split_1", *lines]) + "\n")

    def read_lists(self) -> dict[str, str]:
        """Return the subset of each listed video."""
        lines = (self.project / "videos.csv").read_text().splitlines()[1:]
        return {line.split(",")[0]: line.split(",")[2] for line in lines}

    def copy(self, folder: Path) -> "Checkout":
        """Return the same in another folder; times of files, and links among them, are kept."""
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True)
        return Checkout(folder=folder, config=copy.deepcopy(self.config), python=self.python)

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        """Return the command that runs the workflow; the configuration is written first."""
        (self.project / "config.yaml").write_text(yaml.safe_dump(self.config))
        command = [self.python, "-m", "snakemake", "--cores", str(cores), "--configfile", "config.yaml"]
        command += ["--snakefile", str(self.code / "Snakefile"), "--quiet", "progress"]
        return [*command, "--workflow-profile", str(self.code / "workflow/profiles/default"), *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment in which this checkout's library is the one that is found."""
        return {**os.environ, "PYTHONPATH": str(self.code / "src"), "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str, check: bool = True, cores: int = 2) -> "Work":
        """Run the workflow, and return which jobs of which rules ran and which rows they computed."""
        shutil.rmtree(self.project / "logs", ignore_errors=True)
        command = self.command(*arguments, cores=cores)
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        ran = Ran(code=done.returncode, output=done.stdout + done.stderr)
        assert not check or ran.code == 0, ran.output
        return Work(ran=ran, rows=self.rows())

    def moclip(self, *arguments: str) -> Ran:
        """Run the `moclip` command of this checkout in the project."""
        command = [sys.executable, "-c", "from moclip.cli import main; main()", *arguments]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment(), capture_output=True, text=True, check=False, timeout=600
        )
        return Ran(code=done.returncode, output=done.stdout + done.stderr)

    def rows(self) -> dict[str, tuple[str, ...]]:
        """Return the ids of the rows that each stage set out to compute, by the logs of its shards."""
        rows: dict[str, tuple[str, ...]] = {}
        for stage in ("motion", "appearance", "motion_embedding"):
            logs = sorted((self.project / "logs/toy" / stage).rglob("shard-*.log"))
            found = [video_id for log in logs for video_id in _TO_COMPUTE.findall(log.read_text())]
            if found:
                rows[stage] = tuple(sorted(found))
        return rows


@dataclass(frozen=True)
class Work:
    """What one run did: its output, and the rows that it computed."""

    ran: Ran
    rows: dict[str, tuple[str, ...]]

    @property
    def jobs(self) -> Counter[str]:
        """How many jobs of each rule were started."""
        return self.ran.jobs


def new_checkout(folder: Path, *, num_videos: int = NUM_VIDEOS, python: Path | str = sys.executable) -> Checkout:
    """Return a checkout with videos, weights and prompts, nothing run yet."""
    build_checkout(folder / "code")
    made = Checkout(folder=folder, config=quick_config(), python=str(python))
    made.project.mkdir()
    for number in range(num_videos):
        write_clip(made.videos / CLASS_NAMES[number % 2] / f"v{number}.{SUFFIXES[number % 2]}", number=number)
    made.write_lists({name: subset_of(number) for number, name in enumerate(made.listed(num_videos))})
    (made.project / "weights").mkdir()
    (made.project / "weights/open_clip_config.json").write_text(_ENCODER_CONFIG)
    (made.project / "weights/open_clip_model.safetensors").write_bytes(b"the first weights")
    (made.project / "prompts").mkdir()
    shutil.copy2(REPOSITORY / "config/prompts/templates.yaml", made.project / "prompts/templates.yaml")
    return made
