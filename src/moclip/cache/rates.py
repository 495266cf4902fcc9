"""Rates: the processor time of a computed row, network or head on this machine, with the start-up of the job apart.

A rate is noted in the cache next to the content that it belongs to, so that renamed variants keep theirs and jobs that
took everything from the cache overwrite none.
"""

import json
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from moclip.core.files import write_json
from moclip.core.machine import processor_seconds

_FOLDER = "rates"


class Meter:
    """Measure the processor time of a job: that before `start`, and that of the units that are added after it."""

    def __init__(self, *, clock: Callable[[], float] = processor_seconds) -> None:
        """Take the clock, which returns seconds."""
        self._clock = clock
        self.start_seconds = self.seconds = 0.0
        self.num_units = 0.0
        self.is_started = False

    def start(self) -> None:
        """Count time as time of units from now on; later calls do nothing."""
        if not self.is_started:
            self.is_started, self.start_seconds = True, self._clock()

    def add(self, num_units: float) -> None:
        """Add finished units."""
        self.num_units += num_units

    def stop(self) -> None:
        """Take the time of all units so far."""
        if self.is_started:
            self.seconds = self._clock() - self.start_seconds


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Seconds of a unit and of a job's start; `source` says in words where they are from."""

    unit_seconds: float
    start_seconds: float
    source: str


@dataclass(frozen=True, kw_only=True)
class _Note:
    """Sums over jobs on one machine, as a file has them."""

    jobs: int
    units: float
    seconds: float
    start_seconds: float
    machine: str = field(default_factory=platform.node)


def note_rate(cache_dir: Path, *, stage: str, key: str, meter: Meter) -> None:
    """Add a job that computed some units to those noted; a cache that cannot be written is no error."""
    if not meter.num_units:
        return
    path = cache_dir / _FOLDER / f"{stage}.{key}.json"
    own = _Note(jobs=1, units=meter.num_units, seconds=meter.seconds, start_seconds=meter.start_seconds)
    before = _read(path)
    if before and before.machine == own.machine:
        own = _Note(
            jobs=before.jobs + 1,
            units=before.units + own.units,
            seconds=before.seconds + own.seconds,
            start_seconds=before.start_seconds + own.start_seconds,
        )
    with suppress(OSError):
        write_json(path, asdict(own))


def read_rate(cache_dir: Path, *, stage: str, key: str, assumed: tuple[float, float]) -> Rate:
    """Return the rate of some content, else of other content of the stage, else the assumed seconds (unit, start)."""
    paths = sorted((cache_dir / _FOLDER).glob(f"{stage}.*.json"))
    notes = {path.name.split(".")[1]: note for path in paths if (note := _read(path))}
    found = [notes[key]] if key in notes else list(notes.values())
    if not found:
        return Rate(unit_seconds=assumed[0], start_seconds=assumed[1], source="assumed, since none was computed here")
    source = "measured" if key in notes else "measured with other settings"
    if any(note.machine != platform.node() for note in found):
        source += ", partly on another machine"
    return Rate(
        unit_seconds=median(note.seconds / note.units for note in found),
        start_seconds=median(note.start_seconds / note.jobs for note in found),
        source=source,
    )


def _read(path: Path) -> _Note | None:
    try:
        note = _Note(**json.loads(path.read_text(encoding="utf-8")))
        return note if note.jobs > 0 and note.units > 0 else None
    except (OSError, ValueError, TypeError):
        return None
