"""Check the motion embedding shards and write the index over them."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion_embedding import index_motion_embedding

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    index_motion_embedding(
        settings.motion_network[snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        motion_index=Path(snakemake.input.motion),
        model=Path(snakemake.input.model),
        jobs=ShardJob.list_all(settings, index=snakemake.output.index),
        output=Path(snakemake.output.index),
    )
