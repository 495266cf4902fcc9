"""Train the heads of an experiment on one split, with all its seeds."""

import json
from pathlib import Path

from moclip.core.job import stage
from moclip.training.head_runs import list_head_runs, list_neighbors
from moclip.training.head_stage import train_heads

with stage(snakemake):
    runs = list_head_runs(json.loads(snakemake.params.cfg))
    experiment, split = snakemake.wildcards.experiment, int(snakemake.wildcards.split)

    def neighbors():
        # Imported here: parsing settings takes a quarter of the time of a job whose heads are all cached.
        from moclip.config.settings import Settings  # noqa: PLC0415

        settings = Settings.model_validate(snakemake.config)
        return list_neighbors(settings, experiment=experiment, split=split, runs=runs)

    train_heads(
        runs,
        output=Path(snakemake.output.heads),
        history=Path(snakemake.output.history),
        manifest=Path(snakemake.input.manifest),
        split=split,
        cache_dir=Path(snakemake.config["cache_dir"]),
        neighbors=neighbors,
    )
