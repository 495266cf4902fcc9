"""Histories of a project: random edits, failures and kills, each run compared with a fresh build."""

import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from moclip.cache.pool import list_rows
from moclip.config.validation import check_config
from moclip.dataset.layouts import read_listing
from moclip.errors import MoclipError
from tests.workflow import edits as e
from tests.workflow.changes import CHANGES
from tests.workflow.checkout import OUTPUTS, Checkout, break_video, pack_weights, write_clip
from tests.workflow.fresh import FRESH, Step, look_at_step

RandomEdit = Callable[[random.Random, Checkout], None]
# A history stays in its folder.
NOT_DRAWN = {"the project moved to another folder"}
# The longest time until a kill, about that of a first run.
LONGEST_SECONDS = 25.0
# Relative to a project, so that two projects of one folder share it and a fresh build has an empty one.
SHARED_CACHE = "../../cache"


# Edits that take any of several values.
def other_value(rng: random.Random, checkout: Checkout) -> None:
    """Give some key another value."""
    keys: dict[str, list[object]] = {
        "head.mlp.learning_rate": [0.001, 0.002],
        "head.linear.epochs": [1, 2],
        "motion_network.tiny.embedding.num_segments": [1, 2],
        "motion_network.tiny.train.epochs": [2, 3],
        "motion_network.tiny.max_px": [10, 20, 20.0],
        "dataset.num_shards": [1, 2, 3, 5],
        "dataset.validation_seed": [0, 1, 2],
        "dataset.on_bad_video": ["skip", "fail"],
        "dataset.rejected_test_videos": ["wrong", "leave_out"],
        "motion.original.source": ["original", "transcode"],
        "experiments.fusion.seeds": [[0], [1], [0, 1], [0, 2]],
        "experiments.probe.splits": [[1], [2], [1, 2]],
        "appearance.clip.frames": [{"policy": "middle", "count": 1}, {"policy": "uniform", "count": 2}],
    }
    path = rng.choice(sorted(keys))
    e.set_key(path, rng.choice(keys[path]))(checkout)


def add_video(rng: random.Random, checkout: Checkout) -> None:
    """Add a video, which may have the bytes of another one."""
    subsets = ["train", "test", "val", ""]
    number = rng.randrange(24, 60)
    like = rng.choice([None, 0, 18, 24])
    e.add_video(number, split_1=rng.choice(subsets), split_2=rng.choice(["train", "test", ""]), like=like)(checkout)


def change_video(rng: random.Random, checkout: Checkout) -> None:
    """Replace the bytes of a video, sometimes by some that no decoder reads."""
    path = checkout.videos / rng.choice(checkout.read_lists())["video"]
    write = rng.choice([write_clip, write_clip, break_video])
    write(path, number=rng.randrange(24, 60))


def touch_video(rng: random.Random, checkout: Checkout) -> None:
    """Give a video a new mtime."""
    os.utime(checkout.videos / rng.choice(checkout.read_lists())["video"])


def remove_video(rng: random.Random, checkout: Checkout) -> None:
    """Remove a video from the folder and from the lists."""
    lines = checkout.read_lists()
    line = lines.pop(rng.randrange(len(lines)))
    (checkout.videos / line["video"]).unlink()
    checkout.write_lists(lines)


def relabel_video(rng: random.Random, checkout: Checkout) -> None:
    """Give a video the class of another one."""
    lines = checkout.read_lists()
    checkout.edit_lists(rng.choice(lines)["video"], class_=rng.choice(lines)["class"])


def swap_videos(rng: random.Random, checkout: Checkout) -> None:
    """Exchange the files of two videos."""
    e.swap_contents(*rng.sample(range(24), 2))(checkout)


def edit_prompts(rng: random.Random, checkout: Checkout) -> None:
    """Write one of some prompts, sometimes with the mtime of the old ones."""
    path = checkout.project / rng.choice([e.TEMPLATES, "prompts/short.yaml"])
    content = e.prompts_of(f"video {rng.randrange(3)} of {{}}.")
    e.replace_unseen(path, content) if rng.random() < 0.5 else path.write_bytes(content)


def replace_weights(rng: random.Random, checkout: Checkout) -> None:
    """Replace the weights by one of some, sometimes with the mtime of the old ones."""
    folder = checkout.config["appearance"]["clip"]["model"].removeprefix("local-dir:")
    path = checkout.project / folder / Path(e.WEIGHTS).name
    content = pack_weights(f"weights number {rng.randrange(3)}".encode())
    e.replace_unseen(path, content) if rng.random() < 0.5 else path.write_bytes(content)


def spoil_result(rng: random.Random, checkout: Checkout) -> None:
    """Delete a result, append to it or replace it by junk; shards and the cache may be one file."""
    files = sorted(path for path in checkout.results.rglob("*") if path.is_file() and not path.name.startswith("."))
    path = rng.choice(files)
    how = rng.choice(["delete", "append", "replace"])
    if how == "append" and path.suffix not in {".h5", ".safetensors"}:
        with path.open("ab") as file:
            file.write(b"\n")
        return
    path.unlink()
    if how == "replace":
        path.write_bytes(b"junk")


def lose_metadata(rng: random.Random, checkout: Checkout) -> None:
    """Delete the folder of Snakemake."""
    shutil.rmtree(checkout.project / ".snakemake", ignore_errors=True)


def edit_script(rng: random.Random, checkout: Checkout) -> None:
    """Edit a script without another result."""
    name = rng.choice(["head", "evaluate", "motion_index", "summary", "text", "motion_network"])
    e.edit_code(f"workflow/scripts/{name}.py", r"^with stage", f"print({rng.randrange(999)})\nwith stage")(checkout)


RANDOM_EDITS: tuple[RandomEdit, ...] = (
    other_value,
    other_value,
    other_value,
    add_video,
    change_video,
    touch_video,
    remove_video,
    relabel_video,
    swap_videos,
    edit_prompts,
    replace_weights,
    spoil_result,
    spoil_result,
    lose_metadata,
    edit_script,
)


def draw_edit(rng: random.Random, checkout: Checkout) -> str:
    """Make a random edit, of the change table or of those above, and return its name."""
    if rng.random() < 0.5:
        change = rng.choice([change for change in CHANGES if change.name not in NOT_DRAWN])
        step = rng.choice(change.steps)
        done = attempt(checkout, step.edit)
        return f"{change.name.replace(' ', '_')}{'' if done else '(undone)'}"
    edit = rng.choice(RANDOM_EDITS)
    done = attempt(checkout, lambda checkout: edit(rng, checkout))
    return f"{edit.__name__}{'' if done else '(undone)'}"


def attempt(checkout: Checkout, edit: e.Edit) -> bool:
    """Make an edit, undo it if the project cannot run after it, and return whether it was made.

    An edit of the table expects the project as it is at first, and another edit may have removed what it changes.
    """
    config = copy.deepcopy(checkout.config)
    inputs = [path for path in checkout.project.iterdir() if path.name not in OUTPUTS]
    saved = checkout.folder / "saved"
    saved.mkdir()
    subprocess.run(["cp", "-a", *map(str, inputs), str(saved)], check=True)
    try:
        edit(checkout)
        check_project(checkout)
    except (AssertionError, LookupError, OSError, StopIteration, ValueError, MoclipError):
        checkout.config = config
        for path in [path for path in checkout.project.iterdir() if path.name not in OUTPUTS]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        subprocess.run(["cp", "-a", *map(str, saved.iterdir()), str(checkout.project)], check=True)
        return False
    finally:
        shutil.rmtree(saved)
    return True


def check_project(checkout: Checkout) -> None:
    """Check the configuration and the lists of a project, and that every split has what trains and tests.

    Raises:
        MoclipError: A run would end at once.
        ValueError: A split is too small.
    """
    dataset = check_config(checkout.config).dataset
    places = {key: str(checkout.project / getattr(dataset, key)) for key in ("root", "lists")}
    listing = read_listing(dataset.model_copy(update=places))
    for split in (1, 2):
        for subset in ("train", "val", "test"):
            videos = [video for video in listing.videos if video.subsets[split] == subset]
            if any(not (Path(places["root"]) / video.path).is_file() for video in videos) or len(videos) < 3:
                raise ValueError(f"split {split}: expected three videos in {subset}, found {len(videos)}")


@dataclass(frozen=True, kw_only=True)
class History:
    """The steps of a history in a word each, and the problems that its checks found."""

    seed: int
    steps: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def num_edits(self) -> int:
        """The number of edits."""
        return sum(step not in {"run", "run both", "kill", "fail"} for step in self.steps)


def run_history(seed: int, *, start: Checkout, folder: Path, longest_seconds: float = LONGEST_SECONDS) -> History:
    """Run a random history from a copy of `start`, check every run of it, and return what was found.

    In every third history two projects share one cache and sometimes run at the same time.
    """
    rng = random.Random(seed)  # noqa: S311 (a history can be repeated)
    FRESH.start()
    projects = [start.copy(folder / "lived")]
    if seed % 3 == 2:
        projects.append(start.copy(folder / "other"))
        for project in projects:
            project.config["cache_dir"] = SHARED_CACHE
    steps: list[str] = []
    wrong: list[str] = []
    for _ in range(rng.randint(1, 3)):
        for _ in range(rng.randint(1, 4)):
            steps.append(draw_edit(rng, rng.choice(projects)))
        how = rng.choice(["run", "run", "kill", "fail"])
        if how == "kill":
            kill_run(projects[0], rng=rng, longest_seconds=longest_seconds)
            unlock(projects[0])
        elif how == "fail":
            fail_run(projects[0], rng=rng)
        else:
            how = "run both" if len(projects) > 1 else how
            wrong += _check(projects, place=f"run {len(steps)}")
        steps.append(how)
    for project in projects:
        project.config["dataset"]["on_bad_video"] = "skip"
    wrong += _check(projects, place="last run")
    return History(seed=seed, steps=tuple(steps), wrong=tuple(wrong))


def _check(projects: list[Checkout], *, place: str) -> list[str]:
    with ThreadPoolExecutor(max_workers=len(projects)) as executor:
        seen: list[Step] = list(executor.map(look_at_step, projects))
    return [f"{place}: {problem}" for step in seen for problem in step.problems]


def fail_run(checkout: Checkout, *, rng: random.Random) -> None:
    """Run with prompts that cannot be read, or with videos that must all be good, and correct that afterwards."""
    prompts = checkout.project / e.TEMPLATES
    before, config = prompts.stat(), copy.deepcopy(checkout.config)
    content = prompts.read_bytes()
    if rng.random() < 0.5:
        prompts.write_text("templates: {")
    else:
        checkout.config["dataset"]["on_bad_video"] = "fail"
    checkout.run(check=False)
    prompts.write_bytes(content)
    os.utime(prompts, ns=(before.st_atime_ns, before.st_mtime_ns))
    checkout.config = config


def kill_run(checkout: Checkout, *, rng: random.Random, longest_seconds: float) -> str:
    """Start a run, kill it at a random moment with SIGKILL, and return its target: main, job or group."""
    target = rng.choice(["main", "job", "group"])
    with (checkout.folder / "killed.txt").open("w") as output:
        process = subprocess.Popen(
            replace(checkout, python=sys.executable).command(),  # its jobs share its session
            cwd=checkout.project,
            env=checkout.environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            process.wait(timeout=rng.uniform(0.5, longest_seconds))
        except subprocess.TimeoutExpired:
            _kill(process.pid, target=target, rng=rng)
        process.wait()
    _wait_for_orphans(process.pid)
    return target


def _kill(main: int, *, target: str, rng: random.Random) -> None:
    if target == "group":
        os.killpg(main, signal.SIGKILL)
    elif target == "main":
        os.kill(main, signal.SIGKILL)
    else:
        jobs = [pid for pid in _session_of(main) if pid != main]
        if jobs:
            os.kill(rng.choice(jobs), signal.SIGKILL)


def _session_of(main: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            cells = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(cells[3]) == main and cells[0] != "Z":
            found.append(int(path.parent.name))
    return found


def _wait_for_orphans(main: int) -> None:
    # A job outlives its main process. It ends before the next run here, so that a history can be repeated.
    until = time.monotonic() + 120
    while _session_of(main) and time.monotonic() < until:
        time.sleep(0.1)


def unlock(checkout: Checkout) -> None:
    """Remove the lock that a killed run left, as its message asks a user to."""
    checkout.run("--unlock")


@dataclass(frozen=True, kw_only=True)
class Killed:
    """The process that was killed, the rows that were cached then, and those that the next run computed."""

    target: str
    num_rows: int
    num_computed: int


def kill_and_resume(
    seed: int, *, new: Checkout, built: Checkout, folder: Path, longest_seconds: float = LONGEST_SECONDS
) -> Killed:
    """Kill the first run of a project at a random moment, run it again, and check the results and the computed rows."""
    rng = random.Random(seed)  # noqa: S311 (a kill can be repeated)
    checkout = new.copy(folder / "killed")
    target = kill_run(checkout, rng=rng, longest_seconds=longest_seconds)
    cached = count_cached(checkout)
    unlock(checkout)
    step = look_at_step(checkout)
    assert not step.problems, f"seed {seed}, {target} killed: {'; '.join(step.problems)}"
    computed = sum(map(len, step.work.rows.values()))
    assert computed + cached == count_cached(built), f"seed {seed}, {target} killed: a finished row was computed again"
    return Killed(target=target, num_rows=cached, num_computed=computed)


def count_cached(checkout: Checkout) -> int:
    """Return the number of different rows that the cache of a project holds."""
    pools = [path for path in (checkout.project / "results/.cache").glob("*/*") if path.is_dir()]
    return sum(len(list_rows(pool)) for pool in pools)
