"""Many histories and kills, in one sitting or several: `make fuzz-cache`, or with other numbers

    python -m tests.workflow.campaign --histories 200 --kills 30 --jobs 2 --record FILE

Each has a seed, and those in the record are not repeated. One with a problem keeps its folder, and the last line counts
them.
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from tests.workflow.checkout import Checkout, new_checkout
from tests.workflow.fresh import FRESH
from tests.workflow.histories import kill_and_resume, run_history
from tests.workflow.warm import warm_python

KINDS = ("history", "kill")
Done = dict[tuple[str, int], list[str]]
_WRITING = Lock()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A project that has never run, and a copy that has."""

    folder: Path
    new: Checkout
    built: Checkout


def read_record(path: Path) -> Done:
    """Return the histories and kills of a record: the cells of each line, by kind and seed."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {(cells[0], int(cells[1])): cells for cells in csv.reader(file, dialect="excel-tab")}


def live(seed: int, *, setting: Setting, folder: Path) -> tuple[str, str]:
    """Run a history, and return its steps and its problems."""
    history = run_history(seed, start=setting.built, folder=folder)
    return " ".join(history.steps), " | ".join(" ".join(problem.split()) for problem in history.wrong)


def kill(seed: int, *, setting: Setting, folder: Path) -> tuple[str, str]:
    """Kill a first run, and return the killed process and the problems."""
    try:
        killed = kill_and_resume(seed, new=setting.new, built=setting.built, folder=folder)
    except AssertionError as error:
        return "killed", " ".join(str(error).split())
    return f"{killed.target} killed at {killed.num_rows} rows; then {killed.num_computed} computed", ""


def do(kind: str, seed: int, *, record: Path, setting: Setting) -> None:
    """Run a history or a kill, and add a line to the record."""
    doers: dict[str, Callable[..., tuple[str, str]]] = {"history": live, "kill": kill}
    folder = setting.folder / f"{kind}-{seed}"
    folder.mkdir()
    since = time.monotonic()
    try:
        steps, wrong = doers[kind](seed, setting=setting, folder=folder)
    except Exception as error:  # an error of the tests is a problem too
        steps, wrong = "not finished", f"{type(error).__name__}: {' '.join(str(error).split())[-500:]}"
    with _WRITING, record.open("a", newline="") as file:
        writer = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        writer.writerow([kind, seed, f"{time.monotonic() - since:.1f}", steps, wrong])
        sys.stdout.write(f"{kind} {seed}: {steps}: {wrong or 'right'}\n")
        sys.stdout.flush()
    if not wrong:
        shutil.rmtree(folder)


def count(done: Done) -> str:
    """Return the counts of a record in a line."""
    parts = []
    for kind in KINDS:
        lines = [cells for (name, _), cells in done.items() if name == kind]
        seconds = sum(float(cells[2]) for cells in lines)
        wrong = [cells[1] for cells in lines if cells[4]]
        parts.append(f"{kind}: {len(lines)} in {seconds / 60:.0f} min, {len(wrong)} wrong {' '.join(wrong)}".strip())
    return "; ".join(parts)


def main() -> None:
    """Run the histories and kills that are not in the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="histories at a time")
    parser.add_argument("--record", type=Path, default=Path("fuzz-cache.tsv"))
    options = parser.parse_args()
    numbers = range(options.first, options.first + max(options.histories, options.kills))
    asked = {"history": options.histories, "kill": options.kills}
    wanted = [(kind, n) for kind in KINDS for n in numbers if n - options.first < asked[kind]]
    known = read_record(options.record)
    left = [key for key in wanted if key not in known]
    folder = Path(tempfile.mkdtemp(prefix="moclip-fuzz-"))
    os.environ.setdefault("MOCLIP_FRESH_BUILDS", str(folder / "fresh"))
    (folder / "python").mkdir()
    FRESH.start()
    with warm_python(folder / "python", hash_seed=1) as python, ThreadPoolExecutor(options.jobs) as executor:
        new = new_checkout(folder / "new", python=python)
        built = new.copy(folder / "built")
        built.run()
        setting = Setting(folder=folder, new=new, built=built)
        list(executor.map(lambda key: do(*key, record=options.record, setting=setting), left))
    done = {key: cells for key, cells in read_record(options.record).items() if key in wanted}
    sys.stdout.write(count(done) + "\n")
    wrong = any(cells[4] for cells in done.values())
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
