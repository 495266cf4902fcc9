"""Histories of a project: random edits, failures and kills, and what must be left at the end of every one of them."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from moclip.row_cache import list_row_keys
from tests.results import read_without_times
from tests.workflow.checkout import CLASS_NAMES, Checkout, write_clip


def _other_value(rng: random.Random, checkout: Checkout) -> None:
    keys: list[tuple[tuple[str, ...], list[object]]] = [
        (("head", "mlp", "learning_rate"), [0.001, 0.002]),
        (("motion_network", "tiny", "test", "num_segments"), [1, 2]),
        (("motion_network", "tiny", "train", "epochs"), [2, 3]),
        (("dataset", "num_shards"), [1, 2, 3]),
        (("dataset", "on_bad_video"), ["skip", "fail"]),
        (("dataset", "rejected_test_videos"), ["wrong", "leave_out"]),
        (("motion", "original", "source"), ["original", "transcode"]),
        (("experiments", "fusion", "seeds"), [[0], [1], [0, 1]]),
        (("appearance", "clip", "frames"), [{"policy": "middle", "count": 1}, {"policy": "uniform", "count": 2}]),
    ]
    path, values = rng.choice(keys)
    section = checkout.config
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = rng.choice(values)


def _add_video(rng: random.Random, checkout: Checkout) -> None:
    subsets = checkout.read_lists()
    name = f"MovingRight/n{rng.randrange(100)}.mp4"
    write_clip(checkout.videos / name, number=2 * rng.randrange(4, 12))
    checkout.write_lists(subsets | {name: rng.choice(["train", "val", "test"])})


def _remove_video(rng: random.Random, checkout: Checkout) -> None:
    subsets = checkout.read_lists()
    # The first videos of each class stay, so that no subset is left empty.
    names = sorted(name for name in subsets if name not in checkout.listed(8))
    if names:
        name = rng.choice(names)
        (checkout.videos / name).unlink()
        del subsets[name]
        checkout.write_lists(subsets)


def _change_video(rng: random.Random, checkout: Checkout) -> None:
    name = rng.choice(sorted(checkout.read_lists()))
    write_clip(checkout.videos / name, number=2 * rng.randrange(4, 12) + name.startswith("MovingDown"))


def _touch_video(rng: random.Random, checkout: Checkout) -> None:
    os.utime(checkout.videos / rng.choice(sorted(checkout.read_lists())))


def _rename_video(rng: random.Random, checkout: Checkout) -> None:
    subsets = checkout.read_lists()
    name = rng.choice(sorted(subsets))
    other = f"{name.split('/')[0]}/r{rng.randrange(100)}.{name.split('.')[-1]}"
    if other not in subsets:
        (checkout.videos / name).rename(checkout.videos / other)
        subsets[other] = subsets.pop(name)
        checkout.write_lists(subsets)


def _swap_subsets(rng: random.Random, checkout: Checkout) -> None:
    # Of two videos of a class, so that none is left without training videos.
    subsets = checkout.read_lists()
    own = [name for name in sorted(subsets) if name.startswith(rng.choice(CLASS_NAMES))]
    one, other = rng.choice(own or sorted(subsets)), rng.choice(own or sorted(subsets))
    checkout.write_lists(subsets | {one: subsets[other], other: subsets[one]})


def _move_dataset(rng: random.Random, checkout: Checkout) -> None:
    name = f"videos-{rng.randrange(1000)}"
    checkout.videos.rename(checkout.project / name)
    checkout.config["dataset"]["root"] = name


def _edit_prompts(rng: random.Random, checkout: Checkout) -> None:
    (checkout.project / "prompts/templates.yaml").write_text(f"templates: ['video {rng.randrange(3)} of {{}}.']\n")


def _break_video(rng: random.Random, checkout: Checkout) -> None:
    names = sorted(name for name in checkout.read_lists() if name not in checkout.listed(8))
    if names:
        (checkout.videos / rng.choice(names)).write_bytes(b"no video at all")


def _delete_result(rng: random.Random, checkout: Checkout) -> None:
    files = sorted(path for path in checkout.results.rglob("*") if path.is_file())
    if files:
        rng.choice(files).unlink()


def _replace_weights(rng: random.Random, checkout: Checkout) -> None:
    (checkout.project / "weights/open_clip_model.safetensors").write_bytes(f"weights {rng.randrange(3)}".encode())


def _edit_extractor(rng: random.Random, checkout: Checkout) -> None:
    # An edit that changes no number, and with it, or not, another version.
    file = checkout.code / "src/moclip/motion_extraction.py"
    text = file.read_text()
    file.write_text(
        re.sub(r"prepare_worker\(\)(?: or \d+)?$", f"prepare_worker() or {rng.randrange(9)}", text, flags=re.M)
    )
    if rng.random() < 0.5:
        versions = checkout.code / "src/moclip/versions.py"
        number = f"MOTION_VERSION = {rng.randrange(90, 99)}"
        versions.write_text(re.sub(r"^MOTION_VERSION = \d+", number, versions.read_text(), flags=re.M))


def _edit_script(rng: random.Random, checkout: Checkout) -> None:
    file = checkout.code / f"workflow/scripts/{rng.choice(['head', 'evaluate', 'motion_index', 'summary'])}.py"
    file.write_text(file.read_text().replace("\nwith stage", f"\nprint({rng.randrange(1000)})\nwith stage", 1))


EDITS: tuple[Callable[[random.Random, Checkout], None], ...] = (
    _other_value,
    _other_value,
    _add_video,
    _remove_video,
    _change_video,
    _touch_video,
    _rename_video,
    _swap_subsets,
    _move_dataset,
    _edit_prompts,
    _edit_script,
    _break_video,
    _delete_result,
    _replace_weights,
    _edit_extractor,
)


@dataclass(frozen=True, kw_only=True)
class History:
    """What was done to a project, a word each, and the results in which it then differed from a fresh build."""

    seed: int
    steps: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def num_edits(self) -> int:
        """How many edits there were."""
        return sum(step not in {"run", "kill", "fail"} for step in self.steps)


def run_history(seed: int, *, start: Checkout, folder: Path, fresh_python: str) -> History:
    """Live through a history from a copy of `start`, and compare what is left with a build by `fresh_python`."""
    rng = random.Random(seed)  # noqa: S311 (a history is to be had again)
    checkout = start.copy(folder / "lived")
    steps: list[str] = []
    for _ in range(rng.randint(1, 4)):
        for _ in range(rng.randint(1, 3)):
            edit = rng.choice(EDITS)
            steps.append(edit.__name__.strip("_"))
            edit(rng, checkout)
        how = rng.choice(["run", "run", "kill", "fail"])
        steps.append(how)
        if how == "kill":
            kill_run(checkout, rng=rng, longest_seconds=12.0)
            unlock(checkout)
        elif how == "fail":
            fail_run(checkout)
        else:
            # A video that cannot be read stops it under `on_bad_video: fail`, as it should.
            checkout.run(check=False)
    checkout.config["dataset"]["on_bad_video"] = "skip"
    checkout.run()
    wrong = compare(checkout, build_fresh(checkout, folder=folder / "fresh", python=fresh_python))
    return History(
        seed=seed, steps=tuple(steps), wrong=(*wrong, *(f"run again: {rule}" for rule in checkout.run().jobs))
    )


def fail_run(checkout: Checkout) -> None:
    """Run with prompts that cannot be read, so that the text stage fails, and mend them."""
    prompts = checkout.project / "prompts/templates.yaml"
    content = prompts.read_bytes()
    prompts.write_text("templates: {")
    checkout.run(check=False)
    prompts.write_bytes(content)


def kill_run(checkout: Checkout, *, rng: random.Random, longest_seconds: float) -> str:
    """Start a run, kill it at a random moment with SIGKILL, and return what was hit: main, job or group."""
    target = rng.choice(["main", "job", "group"])
    with (checkout.folder / "killed.txt").open("w") as output:
        process = subprocess.Popen(
            replace(checkout, python=sys.executable).command(),  # its jobs are processes of its own session
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
    # A job outlives its main process, and writes: the next run must find it so, or done; here done, to be repeatable.
    until = time.monotonic() + 120
    while _session_of(main) and time.monotonic() < until:
        time.sleep(0.1)


def unlock(checkout: Checkout) -> None:
    """Take away the lock that a killed run left, as its message tells a user to."""
    checkout.run("--unlock")


def build_fresh(checkout: Checkout, *, folder: Path, python: str) -> Checkout:
    """Return the same project, built once from nothing."""
    fresh = replace(checkout.copy(folder), python=python)
    for name in ("results", ".snakemake", "logs", "benchmarks"):
        shutil.rmtree(fresh.project / name, ignore_errors=True)
    fresh.run()
    return fresh


def compare(one: Checkout, other: Checkout) -> list[str]:
    """Return the results of two projects that differ, or that only one of them has."""
    mine, theirs = _read(one), _read(other)
    # What an earlier configuration made stays, and is no output of the last one.
    absent = [name for name in theirs if name not in mine]
    return sorted(absent + [name for name in theirs if name in mine and mine[name] != theirs[name]])


def _read(checkout: Checkout) -> dict[str, bytes]:
    files = (path for path in checkout.results.rglob("*") if path.is_file())
    return {str(path.relative_to(checkout.results)): read_without_times(path) for path in files}


@dataclass(frozen=True, kw_only=True)
class Killed:
    """What was killed, the rows that were in the cache then, and those that the next run computed."""

    target: str
    num_rows: int
    num_computed: int


def kill_and_go_on(seed: int, *, new: Checkout, built: Checkout, folder: Path, longest_seconds: float) -> Killed:
    """Kill the first run of a project at a random moment, go on, and check what is left against an undisturbed run."""
    rng = random.Random(seed)  # noqa: S311 (a history is to be had again)
    checkout = new.copy(folder / "killed")
    target = kill_run(checkout, rng=rng, longest_seconds=longest_seconds)
    cached = count_cached(checkout)
    unlock(checkout)
    work = checkout.run()
    assert compare(checkout, built) == [], f"seed {seed}, {target} killed"
    computed = sum(map(len, work.rows.values()))
    assert computed + cached == count_cached(built), f"seed {seed}, {target} killed: a finished row was computed again"
    return Killed(target=target, num_rows=cached, num_computed=computed)


def count_cached(checkout: Checkout) -> int:
    """Return how many different rows the cache of a project holds."""
    pools = [path for path in (checkout.project / "results/.cache").glob("*/*") if path.is_dir()]
    return sum(len(list_row_keys(pool)) for pool in pools)
