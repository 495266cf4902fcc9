"""Many histories and kills, in as many sittings as it takes: `make fuzz-cache`, or with other numbers

    python -m tests.workflow.campaign --histories 100 --kills 20 --record FILE

Each is known by its seed; what is in the record is not done again. A wrong one leaves its folder behind and its seed in
the record, and the last line counts them.
"""

import argparse
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.workflow.checkout import Checkout, new_checkout
from tests.workflow.histories import kill_and_go_on, run_history
from tests.workflow.warm import warm_python

KINDS = ("history", "kill")
Done = dict[tuple[str, int], list[str]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A project that has never run, the same after a run, and Pythons that start at once, of two hash seeds."""

    folder: Path
    new: Checkout
    built: Checkout
    fresh_python: str


def read_record(path: Path) -> Done:
    """Return what was done before: the cells of each line, by kind and seed."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {(cells[0], int(cells[1])): cells for cells in csv.reader(file, dialect="excel-tab")}


def live(seed: int, *, setting: Setting, folder: Path) -> tuple[str, str]:
    """Run a history, and return its steps and what is wrong."""
    history = run_history(seed, start=setting.built, folder=folder, fresh_python=setting.fresh_python)
    return " ".join(history.steps), " ".join(history.wrong)


def kill(seed: int, *, setting: Setting, folder: Path) -> tuple[str, str]:
    """Kill a first run, and return what was hit and what is wrong."""
    try:
        killed = kill_and_go_on(seed, new=setting.new, built=setting.built, folder=folder, longest_seconds=25.0)
    except AssertionError as error:
        return "killed", str(error).splitlines()[0]
    return f"{killed.target} killed at {killed.num_rows} rows; then {killed.num_computed} computed", ""


def do_all(wanted: list[tuple[str, int]], *, record: Path, setting: Setting) -> None:
    """Do what is wanted and not in the record, and add a line for each."""
    done = read_record(record)
    doers: dict[str, Callable[..., tuple[str, str]]] = {"history": live, "kill": kill}
    for kind, seed in wanted:
        if (kind, seed) in done:
            continue
        folder = setting.folder / f"{kind}-{seed}"
        folder.mkdir()
        since = time.monotonic()
        steps, wrong = doers[kind](seed, setting=setting, folder=folder)
        with record.open("a", newline="") as file:
            writer = csv.writer(file, dialect="excel-tab", lineterminator="\n")
            writer.writerow([kind, seed, f"{time.monotonic() - since:.1f}", steps, wrong])
        sys.stdout.write(f"{kind} {seed}: {steps}: {wrong or 'right'}\n")
        sys.stdout.flush()
        if not wrong:
            shutil.rmtree(folder)


def count(done: Done) -> str:
    """Return the numbers over a record in a line."""
    parts = []
    for kind in KINDS:
        lines = [cells for (name, _), cells in done.items() if name == kind]
        seconds = sum(float(cells[2]) for cells in lines)
        wrong = [cells[1] for cells in lines if cells[4]]
        parts.append(f"{kind}: {len(lines)} in {seconds / 60:.0f} min, {len(wrong)} wrong {' '.join(wrong)}".strip())
    return "; ".join(parts)


def main() -> None:
    """Run what is left of a campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--record", type=Path, default=Path("fuzz-cache.tsv"))
    options = parser.parse_args()
    numbers = range(options.first, options.first + max(options.histories, options.kills))
    asked = {"history": options.histories, "kill": options.kills}
    wanted = [(kind, n) for kind in KINDS for n in numbers if n - options.first < asked[kind]]
    folder = Path(tempfile.mkdtemp(prefix="moclip-fuzz-"))
    (folder / "one").mkdir()
    (folder / "other").mkdir()
    with warm_python(folder / "one", hash_seed=1) as python, warm_python(folder / "other", hash_seed=2) as other:
        new = new_checkout(folder / "new", python=python)
        built = new.copy(folder / "built")
        built.run()
        setting = Setting(folder=folder, new=new, built=built, fresh_python=str(other))
        do_all(wanted, record=options.record, setting=setting)
    done = {key: cells for key, cells in read_record(options.record).items() if key in wanted}
    sys.stdout.write(count(done) + "\n")
    wrong = any(cells[4] for cells in done.values())
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
