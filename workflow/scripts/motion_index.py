"""Check the motion shards and write the index over them."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion import index_motion

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    index_motion(
        settings.motion[snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        jobs=ShardJob.list_all(settings, index=snakemake.output.index),
        output=Path(snakemake.output.index),
    )
