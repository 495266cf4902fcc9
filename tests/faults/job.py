"""A job as the workflow starts one, in a process of its own: `python -m tests.faults.job ROOT RESULTS CACHE [SECONDS]`.

It builds the motion shard of the videos below ROOT. With SECONDS it waits so long after each video, so that it can be
stopped on its way.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from moclip.cache import row_cache
from moclip.cache.format import Row
from moclip.config.dataset_settings import Dataset
from moclip.config.settings import MotionVariant
from moclip.core.job import stage
from moclip.dataset.manifest import build_manifest, write_manifest
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard, list_videos
from moclip.extraction.motion import build_motion_extractor


def dataset_of(root: Path) -> Dataset:
    section = {
        "name": "small", "layout": "folders", "root": str(root), "lists": "", "classes": [], "validation_fraction": 0.3,
        "validation_seed": 0, "test_fraction": 0.3, "num_shards": 1, "fingerprint": "content",
    }  # fmt: skip
    return Dataset.model_validate(section)


def slowed(extractor: Extractor, *, seconds: float) -> Extractor:
    def extract(videos: Sequence[Video]) -> Iterator[Row | None]:
        for row in extractor.extract(videos):
            yield row
            time.sleep(seconds)

    return replace(extractor, extract=extract)


def main(root: Path, results: Path, cache: Path, seconds: float) -> None:
    output = results / "shard-0.h5"
    with stage(
        SimpleNamespace(
            log=[results / "job.log"],
            output=[str(output)],
            input={},
            params={},
            rule="motion_shard",
            wildcards={"shard": "0"},
        )
    ):
        row_cache.FLUSH_SECONDS = 0.0  # as if each video had taken long
        manifest = results / "manifest.tsv"
        write_manifest(build_manifest(dataset_of(root), memo=cache / "memo.tsv"), manifest)
        videos = list_videos(manifest, root=root, shard=0)
        job = ShardJob(
            dataset="small", root=root, shard=0, num_shards=1, output=output, cache_dir=cache, fingerprint="content"
        )
        extractor = build_motion_extractor(MotionVariant())
        extract_shard(slowed(extractor, seconds=seconds), videos=videos, job=job)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float((*sys.argv[4:], "0")[0]))
