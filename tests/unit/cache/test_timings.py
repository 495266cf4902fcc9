"""The time of computed rows is processor time, and outlives the jobs that computed them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from moclip.cache.format import Row
from moclip.cache.row_cache import Wanted
from moclip.cache.timings import Stopwatch, Timing, note_timing, read_timings
from moclip.errors import ShardError
from tests.unit.cache.test_row_cache import Extractor, build, row_of, wanted_rows

_SPIN = "import time\nwhile time.process_time() < {seconds}: pass"


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def extract_slowly(missing: Sequence[Wanted]) -> Iterator[Row]:
    """Compute 0.1 s a row in this process and 0.1 s in another one, and sleep 0.2 s."""
    for wanted in missing:
        spin(0.1)
        subprocess.run([sys.executable, "-S", "-c", _SPIN.format(seconds=0.1)], check=True)
        time.sleep(0.2)
        yield row_of(wanted)


def timings_of(folder: Path, *, name: str = "shard-0") -> list[Timing]:
    return read_timings(folder / "pool", dataset=name)


def test_sleep_is_wall_time_and_work_of_all_processes_is_processor_time(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), extract_slowly)
    (timing,) = timings_of(tmp_path)
    assert timing.num_rows == 2
    assert 0.38 < timing.processor_seconds < timing.wall_seconds - 0.35


def test_a_job_that_finds_every_row_changes_no_timing(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), extract_slowly)
    before = timings_of(tmp_path)
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    build(tmp_path, wanted_rows("a", "b"), Extractor(0))
    build(tmp_path, wanted_rows("a"), Extractor(0))
    assert timings_of(tmp_path) == before


def test_rows_that_are_added_later_are_timed_too(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor())
    build(tmp_path, wanted_rows("a", "b", "c"), Extractor())
    assert [one.num_rows for one in timings_of(tmp_path)] == [2, 1]
    assert Timing.sum(timings_of(tmp_path)).num_rows == 3
    assert Timing.sum([]) == Timing(num_rows=0, processor_seconds=0, wall_seconds=0)


def test_an_interrupted_job_is_not_timed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, wanted_rows("a", "b"), Extractor(1))
    assert timings_of(tmp_path) == []


def test_jobs_of_the_dataset_come_before_those_of_others_with_the_same_parameters(tmp_path: Path) -> None:
    timing = Stopwatch().read(num_rows=1)
    for number, name in enumerate(("toy-0-of-2", "toy-1-of-2", "toy-two-0-of-1"), 1):
        note_timing(tmp_path / f"{name}.h5", replace(timing, num_rows=number))
    assert [one.num_rows for one in read_timings(tmp_path, dataset="toy")] == [1, 2]
    assert [one.num_rows for one in read_timings(tmp_path, dataset="toy-two")] == [3]
    assert [one.num_rows for one in read_timings(tmp_path, dataset="another")] == [1, 2, 3]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"num_rows": 3}]'])
def test_damaged_timings_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "toy-0-of-1.timings.json").write_text(text)
    with pytest.raises(ShardError, match=r"toy-0-of-1\.timings\.json: expected the timings"):
        read_timings(tmp_path, dataset="toy")
