"""Train the heads of all runs on the same features of one split."""

import json
from pathlib import Path

from moclip.head_runs import HeadRun, train_batch
from moclip.stage import stage

with stage(snakemake):
    train_batch(
        [HeadRun.from_entry(entry) for entry in json.loads(snakemake.params.cfg).values()],
        index=Path(snakemake.output.index),
        manifest=Path(snakemake.input.manifest),
        split=int(snakemake.params.split.removeprefix("split:")),
        cache_dir=Path(snakemake.config["cache_dir"]),
    )
