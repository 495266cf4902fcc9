"""Embed the motion of one shard with the frozen motion network."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion_embedding import extract_motion_embedding_shard

with stage(snakemake):
    settings, wildcards = Settings.model_validate(snakemake.config), snakemake.wildcards
    extract_motion_embedding_shard(
        ShardJob.from_settings(settings, shard=wildcards.shard, output=snakemake.output.shard),
        variant=settings.motion_network[wildcards.variant],
        motion_index=Path(snakemake.input.motion),
        model=Path(snakemake.input.model),
    )
