"""Embed the motion of one shard with the frozen motion network."""

from pathlib import Path

from moclip.extraction import ShardJob
from moclip.motion_embedding_extraction import extract_motion_embedding_shard
from moclip.stage import stage

with stage(snakemake):
    wildcards = snakemake.wildcards
    extract_motion_embedding_shard(
        ShardJob.from_config(snakemake.config, shard=wildcards.shard, output=snakemake.output.shard),
        variant=snakemake.config["motion_network"][wildcards.variant],
        motion_index=Path(snakemake.input.motion),
        model=Path(snakemake.input.model),
    )
