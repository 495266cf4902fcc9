"""A project as wide as a user's, run from a copy of the code, with models that take no time.

24 videos of 3 classes in 3 shards and 2 codecs, 2 of them without motion. 2 splits, of which the second draws its
validation videos, and 2 seeds. 5 experiments that share one network and differ in head, frames, methods and splits.
"""

import compileall
import copy
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml
from safetensors.numpy import save

from tests.workflow.conftest import REPOSITORY, Ran, toy_config, write_square

CLASS_NAMES = ("MovingRight", "MovingDown", "MovingAslant")
SUFFIXES = ("mp4", "avi")
NUM_VIDEOS = 24
# One that no decoder reads, in train of the first split and test of the second, and one of a codec without motion
# vectors, the other way around.
UNREADABLE, WITHOUT_MOTION = 4, 23
STAND_INS = Path(__file__).parent / "stand_ins"
OUTPUTS = ("results", ".snakemake", "logs", "benchmarks")
_ENCODER_CONFIG = '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}\n'
_PLANNED = re.compile(r" +(\d+)(?: to (\d+))?  (\w+) +(\d+)?(?= )")
_TO_COMPUTE = re.compile(r"to compute: (.+)$", flags=re.MULTILINE)
_HEADS = re.compile(r"(\d+) heads trained, \d+ taken from the cache$", flags=re.MULTILINE)
_COLUMNS = ("video", "class", "group", "split_1", "split_2")
_STEPS_PX = ((3, 0), (0, 3), (2, 2))


def pack_weights(content: bytes) -> bytes:
    """Return a safetensors file with some bytes."""
    return bytes(save({"weights": np.frombuffer(content, np.uint8)}))


def build_checkout(folder: Path) -> None:
    """Copy the files that the workflow runs, and replace the models by the stand-ins."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "workflow", "config", "Snakefile", "environment.yml"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    for path in STAND_INS.glob("*/[!_]*.py"):
        shutil.copy2(path, folder / "src/moclip" / path.relative_to(STAND_INS))
    # Fonts of this kind and small pictures take a tenth of the time.
    style = folder / "src/moclip/report/moclip.mplstyle"
    style.write_text(style.read_text().replace("fonttype: 42", "fonttype: 3").replace("dpi: 300", "dpi: 40"))
    # A run starts dozens of processes, none of which compiles the library then.
    compileall.compile_dir(folder / "src", quiet=1)


def write_clip(path: Path, *, number: int) -> None:
    """Write a short video whose length, texture and motion follow from its number; no two have the same motion."""
    write_square(path, step_px=_STEPS_PX[number % 3], seed=number, num_frames=8 + number)


def break_video(path: Path, *, number: int) -> None:
    """Write a file that no decoder reads and that differs for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no video, number %d" % number)


def write_without_motion(path: Path, *, number: int) -> None:
    """Write a video of a codec that exports no motion vectors, so that only its frames have features."""
    frames = np.random.default_rng(number).integers(0, 255, (8, 64, 80, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuvj420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def path_of(number: int) -> str:
    """Return the path of one of the first videos, below the root."""
    return f"{CLASS_NAMES[number % 3]}/v{number}.{SUFFIXES[number % 2]}"


def id_of(number: int) -> str:
    """Return the id of one of the first videos."""
    return path_of(number).rpartition(".")[0]


def first_lists(num_videos: int = NUM_VIDEOS) -> list[dict[str, str]]:
    """Return the table of videos. Groups are pairs of videos of one class."""
    lines = []
    for number in range(num_videos):
        pair = number // 6 % 4
        subsets = ("train", "train", "val", "test")[pair], ("test", "train", "train", "train")[pair]
        cells = (path_of(number), CLASS_NAMES[number % 3], f"g{number % 3}{pair}", *subsets)
        lines.append(dict(zip(_COLUMNS, cells, strict=True)))
    return lines


def quick_config() -> dict[str, Any]:
    """Return the configuration of the project, with weights and prompts that tests may change."""
    config = toy_config()
    dataset = config["dataset"]
    dataset |= {"layout": "table", "lists": "videos.csv", "num_shards": 3, "validation_fraction": 0.34}
    del dataset["test_fraction"]
    clip = config["appearance"]["clip"]
    clip["model"] = "local-dir:weights"
    config["appearance"]["frames"] = {**clip, "frames": {"policy": "uniform", "count": 2}}
    words = config["text"]["words"]
    words["templates"] = "prompts/templates.yaml"
    config["text"]["names"] = {**words, "templates": "prompts/short.yaml"}
    words["phrases"] = "prompts/phrases.yaml"
    head = config["head"]
    head["mlp"] = {"epochs": 1, "hidden": 4}
    head["linear"] = {"kind": "linear", "epochs": 1}
    config["experiments"] = quick_experiments()
    config["report"] = {"pictures": 1, "picture_frames": 2, "mistakes": 1}
    return config


def quick_experiments() -> dict[str, Any]:
    """Return the five experiments: 10 runs, 4 motion networks, 18 heads, 2 sets of class embeddings."""
    both = {"appearance": "clip", "motion_network": "tiny"}
    return {
        "fusion": {
            **both,
            "text": "names",
            "head": "mlp",
            "methods": ["fusion", "appearance", "motion", "zero_shot"],
            "splits": [1, 2],
            "seeds": [0, 1],
        },
        "probe": {
            **both,
            "head": "linear",
            "methods": ["fusion", "appearance", "score_fusion"],
            "splits": [1, 2],
            "seeds": [0],
        },
        "frames": {
            "appearance": "frames",
            "motion_network": "tiny",
            "head": "mlp",
            "methods": ["fusion", "appearance", "motion"],
            "splits": [1],
            "seeds": [0],
        },
        "still": {
            "appearance": "clip",
            "text": "words",
            "head": "linear",
            "methods": ["appearance", "zero_shot", "zero_shot_head"],
            "splits": [2],
            "seeds": [1],
        },
        "vectors": {
            "motion_network": "tiny",
            "head": "mlp",
            "methods": ["motion", "motion_head"],
            "splits": [1, 2],
            "seeds": [0],
        },
    }


@dataclass
class Checkout:
    """A working folder (`project`) next to a copy of the code (`code`)."""

    folder: Path
    config: dict[str, Any]
    # The Python that runs the workflow: that of the tests, or one that starts in milliseconds (`warm`).
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
        return self.project / "results" / self.config["dataset"]["name"]

    def write_lists(self, lines: list[dict[str, str]]) -> None:
        """Write the table of videos, sorted by path."""
        columns = list(lines[0])
        rows = sorted(",".join(line[column] for column in columns) for line in lines)
        (self.project / "videos.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")

    def read_lists(self) -> list[dict[str, str]]:
        """Return the table of videos."""
        header, *rows = (self.project / "videos.csv").read_text().splitlines()
        return [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]

    def edit_lists(self, path: str, **cells: str) -> None:
        """Replace some cells of one video, whose group follows its class."""
        lines = self.read_lists()
        line = next(line for line in lines if line["video"] == path)
        line |= {name.rstrip("_"): cell for name, cell in cells.items()}
        self.write_lists(lines)

    def copy(self, folder: Path) -> "Checkout":
        """Return a copy in another folder, with the times of all files and the links among them.

        The times of change of its videos are new, so its manifest is made again here and not in the run of a test.
        """
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True)
        copied = replace(self, folder=folder, config=copy.deepcopy(self.config))
        if (copied.results / "manifest.tsv").is_file():
            copied.run("results/toy/manifest.tsv", keep_logs=True)
        return copied

    def write_config(self) -> None:
        """Write the configuration."""
        # Not sorted: the first experiment is the baseline of comparisons.
        (self.project / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        """Return the command that runs the workflow; the configuration is written first."""
        self.write_config()
        command = [self.python, "-m", "snakemake", "--cores", str(cores), "--configfile", "config.yaml"]
        command += ["--snakefile", str(self.code / "Snakefile"), "--quiet", "progress"]
        return [*command, "--workflow-profile", str(self.code / "workflow/profiles/default"), *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment in which the copy of the library is imported."""
        return {**os.environ, "PYTHONPATH": str(self.code / "src"), "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str, check: bool = True, cores: int = 2, keep_logs: bool = False) -> "Work":
        """Run the workflow, and return the work that it did; with `keep_logs` that of the logs there before as well."""
        if not keep_logs:
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
        return self.read_work(ran)

    def moclip(self, *arguments: str) -> Ran:
        """Run the `moclip` command of this checkout in the project."""
        command = [sys.executable, "-c", "from moclip.cli.main import main; main()", *arguments]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment(), capture_output=True, text=True, check=False, timeout=600
        )
        return Ran(code=done.returncode, output=done.stdout + done.stderr)

    def plan(self) -> "Planned":
        """Return the jobs of the next run, as `moclip plan` lists them."""
        self.write_config()
        ran = self.moclip("plan", "--configfile", "config.yaml")
        assert ran.code == 0, ran.output
        found = [match.groups() for line in ran.output.splitlines() if (match := _PLANNED.match(line))]
        return Planned(
            least=Counter({rule: int(least) for least, _, rule, _ in found if int(least)}),
            most=Counter({rule: int(most or least) for least, most, rule, _ in found}),
            made={rule: int(made) for _, _, rule, made in found if made},
            output=ran.output,
        )

    def rows(self) -> dict[str, tuple[str, ...]]:
        """Return the ids of the rows that each stage set out to compute, by the logs of its shards."""
        rows: dict[str, list[str]] = {}
        for name, ids in self.rows_by_set().items():
            rows.setdefault(name.split("/")[0], []).extend(ids)
        return {stage: tuple(sorted(ids)) for stage, ids in rows.items()}

    def rows_by_set(self) -> dict[str, tuple[str, ...]]:
        """Return the ids of the rows that were computed, by feature set, such as `motion/original`."""
        rows: dict[str, list[str]] = {}
        for stage in ("motion", "appearance", "motion_embedding"):
            for log in sorted((self.project / "logs").glob(f"*/{stage}/**/shard-*.log")):
                found = _TO_COMPUTE.findall(log.read_text())
                if found:
                    rows.setdefault("/".join(log.parent.parts[len(self.project.parts) + 2 :]), []).extend(found)
        return {name: tuple(sorted(ids)) for name, ids in rows.items()}

    def read_work(self, ran: Ran) -> "Work":
        """Return the work of the last run, by its output and its logs."""
        logs = [path.read_text() for path in sorted((self.project / "logs").rglob("*.log"))]
        return Work(
            ran=ran,
            rows=self.rows_by_set(),
            networks=sum("network trained" in log for log in logs),
            heads=sum(int(number) for log in logs for number in _HEADS.findall(log)),
            texts=sum("class embeddings computed" in log for log in logs),
            scores=sum("scores computed" in log for log in logs),
        )


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one run.

    `rows` are the ids of the computed rows by feature set. The other numbers count motion networks and heads that were
    trained, class embeddings and scores that were computed.
    """

    ran: Ran
    rows: dict[str, tuple[str, ...]]
    networks: int = 0
    heads: int = 0
    texts: int = 0
    scores: int = 0

    @property
    def jobs(self) -> Counter[str]:
        """The number of jobs of each rule that were started."""
        return self.ran.jobs


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The next run as `moclip plan` lists it: the jobs of each rule, at least and at most, and what they compute."""

    least: Counter[str]
    most: Counter[str]
    made: dict[str, int]
    output: str

    def compare(self, work: Work) -> list[str]:
        """Return the differences between the plan and the work of the run, a line each."""
        lines = []
        for rule in sorted(self.most.keys() | work.jobs.keys()):
            least, most, ran = self.least[rule], self.most[rule], work.jobs[rule]
            if not least <= ran <= most:
                lines.append(f"moclip plan: {rule}: expected {least} to {most} jobs, found {ran}")
        return lines


def new_checkout(folder: Path, *, num_videos: int = NUM_VIDEOS, python: Path | str = sys.executable) -> Checkout:
    """Return a checkout with videos, weights and prompts, of which nothing has run."""
    build_checkout(folder / "code")
    made = Checkout(folder=folder, config=quick_config(), python=str(python))
    made.project.mkdir()
    for number in range(num_videos):
        write = {UNREADABLE: break_video, WITHOUT_MOTION: write_without_motion}.get(number, write_clip)
        write(made.videos / path_of(number), number=number)
    made.write_lists(first_lists(num_videos))
    (made.project / "weights").mkdir()
    (made.project / "weights/open_clip_config.json").write_text(_ENCODER_CONFIG)
    (made.project / "weights/open_clip_model.safetensors").write_bytes(pack_weights(b"the first weights"))
    prompts = made.project / "prompts"
    prompts.mkdir()
    shutil.copy2(REPOSITORY / "config/prompts/templates.yaml", prompts / "templates.yaml")
    (prompts / "short.yaml").write_text("templates: ['a video of {}.', 'a photo of {}.']\n")
    phrases = {name: [f"a square that is {name}"] for name in CLASS_NAMES}
    # A class that is renamed keeps its phrases.
    phrases |= {name: [*phrases["MovingDown"]] for name in ("MovingDownwards", "Falling")}
    (prompts / "phrases.yaml").write_text(yaml.safe_dump(phrases))
    return made
