"""Check the appearance shards and write the index over them."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.appearance import index_appearance
from moclip.extraction.extractor import ShardJob

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    index_appearance(
        settings.appearance[snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        jobs=ShardJob.list_all(settings, index=snakemake.output.index),
        output=Path(snakemake.output.index),
        num_threads=snakemake.threads,
        motion_index=Path(snakemake.input.motion) if snakemake.input.motion else None,
    )
