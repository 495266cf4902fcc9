"""Embed the motion of one shard with the frozen motion network."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion_embedding import extract_motion_embedding_shard

with stage(snakemake):
    wildcards = snakemake.wildcards
    extract_motion_embedding_shard(
        ShardJob.from_config(snakemake.config, shard=wildcards.shard, output=snakemake.output.shard),
        variant=snakemake.config["motion_network"][wildcards.variant],
        motion_index=Path(snakemake.input.motion),
        model=Path(snakemake.input.model),
    )
