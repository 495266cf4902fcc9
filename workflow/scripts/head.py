"""Train the heads of all runs on the same features of one split."""

import json
from pathlib import Path

from moclip.core.job import stage
from moclip.training.head_stage import HeadRun, train_batch

with stage(snakemake):
    train_batch(
        [HeadRun.from_entry(name, entry) for name, entry in json.loads(snakemake.params.cfg).items()],
        index=Path(snakemake.output.index),
        manifest=Path(snakemake.input.manifest),
        split=int(snakemake.params.split.removeprefix("split:")),
        cache_dir=Path(snakemake.config["cache_dir"]),
    )
