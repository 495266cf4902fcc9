"""The frame of an extraction: progress on the terminal, and the rate of rows without the start of the job."""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moclip.cache.format import Field, Row
from moclip.cache.rates import read_rate
from moclip.core import job as job_module
from moclip.core.job import stage
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard

FIELDS = (Field(name="value", kind="packed", dtype="float32"),)


def burn(seconds: float) -> None:
    """Use the processor for some seconds."""
    since = time.process_time()
    while time.process_time() - since < seconds:
        pass


def slow_extractor(*, start: float, row: float, wait: float) -> Extractor:
    """Return an extractor that takes processor time to start and for each row, and waits as well."""

    def extract(videos: Sequence[Video]) -> Iterator[Row | None]:
        burn(start)
        yield None
        for video in videos:
            burn(row)
            time.sleep(wait)
            yield Row(video_id=video.video_id, row_key=video.fingerprint, values={"value": np.zeros(1, np.float32)})

    return Extractor(
        name="slow",
        version=1,
        parameters={},
        fields=FIELDS,
        row_key=lambda video: video.fingerprint,
        extract=extract,
        reads_videos=False,
    )


@pytest.fixture
def job(tmp_path: Path) -> ShardJob:
    return ShardJob(
        dataset="toy",
        root=tmp_path,
        shard=0,
        num_shards=1,
        output=tmp_path / "results/shard-0.h5",
        cache_dir=tmp_path / "cache",
    )


VIDEOS = [Video(video_id=f"v{number}", path=Path(f"v{number}.mp4"), fingerprint=f"f{number}") for number in range(5)]


def test_the_rate_of_rows_has_neither_the_start_nor_the_waiting_in_it(job: ShardJob, tmp_path: Path) -> None:
    extract_shard(slow_extractor(start=0.3, row=0.02, wait=0.1), videos=VIDEOS, job=job)
    (note,) = (tmp_path / "cache/rates").iterdir()
    rate = read_rate(job.cache_dir, stage="slow", key=note.name.split(".")[1], assumed=(9, 9))
    assert 0.019 < rate.unit_seconds < 0.09
    assert rate.start_seconds > 0.3
    before = note.read_bytes()
    extract_shard(slow_extractor(start=0.3, row=0.02, wait=0.1), videos=VIDEOS, job=job)
    assert note.read_bytes() == before, "a job that takes all rows from the cache changes the rate"


def test_a_slow_extraction_reports_its_rows_on_the_terminal(
    job: ShardJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job_module, "PROGRESS_SECONDS", 0.2)
    monkeypatch.setattr(job_module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    described = SimpleNamespace(
        rule="slow_shard",
        wildcards={"shard": "0"},
        log=[str(tmp_path / "log")],
        input={},
        output=[str(job.output)],
        params={"cfg": "1"},
    )
    with stage(described):
        extract_shard(slow_extractor(start=0, row=0, wait=0.7), videos=VIDEOS, job=job)
    logging.getLogger().handlers.clear()
    logging.captureWarnings(False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 10
    assert all(line.startswith("slow_shard shard=0: ") and line.endswith(" s)") for line in lines)
    assert any("/5 [" in line for line in lines)
    log = (tmp_path / "log").read_text()
    assert "\r" not in log
    assert "slow shard-0: 100%" in log
