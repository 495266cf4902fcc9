"""Rates: processor time of a unit, with the start of the job apart, by the content that it belongs to."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from moclip.cache.rates import Meter, note_rate, read_rate
from moclip.core.machine import processor_seconds


def measured(*ticks: float, units: float) -> Meter:
    clock: Iterator[float] = iter(ticks)
    meter = Meter(clock=lambda: next(clock))
    meter.start()
    meter.start()
    meter.add(units)
    meter.stop()
    return meter


def test_the_start_of_a_job_is_no_part_of_the_rate(tmp_path: Path) -> None:
    note_rate(tmp_path, stage="motion", key="a", meter=measured(60.0, 63.0, units=3))
    rate = read_rate(tmp_path, stage="motion", key="a", assumed=(9, 9))
    assert (rate.unit_seconds, rate.start_seconds, rate.source) == (1.0, 60.0, "measured")


def test_jobs_of_one_content_are_summed_and_jobs_without_units_are_not_noted(tmp_path: Path) -> None:
    note_rate(tmp_path, stage="motion", key="a", meter=measured(10.0, 11.0, units=1))
    note_rate(tmp_path, stage="motion", key="a", meter=measured(20.0, 29.0, units=3))
    note_rate(tmp_path, stage="motion", key="a", meter=measured(70.0, 99.0, units=0))
    rate = read_rate(tmp_path, stage="motion", key="a", assumed=(9, 9))
    assert (rate.unit_seconds, rate.start_seconds) == (2.5, 15.0)


def test_other_content_and_assumptions_are_named(tmp_path: Path) -> None:
    assert read_rate(tmp_path, stage="motion", key="b", assumed=(9, 8)).source.startswith("assumed")
    note_rate(tmp_path, stage="motion", key="a", meter=measured(1.0, 3.0, units=1))
    other = read_rate(tmp_path, stage="motion", key="b", assumed=(9, 8))
    assert (other.unit_seconds, other.source) == (2.0, "measured with other settings")
    # The stage `motion_embedding` is another one.
    assert read_rate(tmp_path, stage="motion_embedding", key="a", assumed=(9, 8)).unit_seconds == 9
    path = next((tmp_path / "rates").iterdir())
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "elsewhere"}))
    assert read_rate(tmp_path, stage="motion", key="a", assumed=(9, 8)).source == "measured, partly on another machine"


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": 0}', '{"jobs": 1, "units": 0, "seconds": 1, "start_seconds": 1}'])
def test_a_damaged_note_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "rates").mkdir()
    (tmp_path / "rates/motion.a.json").write_text(text)
    assert read_rate(tmp_path, stage="motion", key="a", assumed=(9, 8)).unit_seconds == 9


def test_processor_time_counts_work_and_not_waiting() -> None:
    before = processor_seconds()
    sum(number * number for number in range(2_000_000))
    assert processor_seconds() - before > 0.01
