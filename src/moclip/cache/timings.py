"""Timings of computed rows, stored in their pool, so that the cost of a video outlives the job that computed it.

Processor time is that of the job and of its worker processes. Unlike wall time it hardly depends on what else the
machine does.
"""

import json
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from moclip.core.files import write_json
from moclip.errors import ShardError

_SUFFIX = ".timings.json"

# Jobs of a shard whose timings are kept.
_MAX_JOBS = 100


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The time that one job took to compute some rows, the loading of models included, in s."""

    num_rows: int
    processor_seconds: float
    wall_seconds: float

    @classmethod
    def sum(cls, timings: Sequence["Timing"]) -> Self:
        """Return the time of several jobs together."""
        return cls(
            num_rows=sum(one.num_rows for one in timings),
            processor_seconds=sum(one.processor_seconds for one in timings),
            wall_seconds=sum(one.wall_seconds for one in timings),
        )


class Stopwatch:
    """Measures the time since it was made. Worker processes count once they have ended."""

    def __init__(self) -> None:
        """Start."""
        self._processor, self._wall = _read_processor(), time.monotonic()

    def read(self, *, num_rows: int) -> Timing:
        """Return the time that some rows took."""
        return Timing(
            num_rows=num_rows,
            processor_seconds=round(_read_processor() - self._processor, 6),
            wall_seconds=round(time.monotonic() - self._wall, 6),
        )


def _read_processor() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def note_timing(own: Path, timing: Timing) -> None:
    """Add a timing to those of a file of a pool, whose writer lock the job holds."""
    path = own.with_suffix(_SUFFIX)
    known = _read(path) if path.is_file() else []
    write_json(path, [asdict(one) for one in (*known, timing)][-_MAX_JOBS:])


def read_timings(pool: Path, *, dataset: str) -> list[Timing]:
    """Return the timings of the rows that the jobs of a dataset computed; those of all jobs of the pool if it has none.

    Raises:
        ShardError: A file of timings is damaged.
    """
    own = re.compile(rf"{re.escape(dataset)}-\d+-of-\d+{re.escape(_SUFFIX)}")
    paths = sorted(pool.glob(f"*{_SUFFIX}"))
    named = [path for path in paths if own.fullmatch(path.name)]
    return [timing for path in named or paths for timing in _read(path)]


def _read(path: Path) -> list[Timing]:
    try:
        return [Timing(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ShardError(f"{path}: expected the timings of a shard's jobs ({error}); delete it") from None
