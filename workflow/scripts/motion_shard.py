"""Extract the motion vectors of one shard."""

from pathlib import Path

from moclip.extraction import ShardJob
from moclip.motion_extraction import extract_motion_shard
from moclip.stage import stage

with stage(snakemake):
    wildcards = snakemake.wildcards
    extract_motion_shard(
        ShardJob.from_config(snakemake.config, shard=wildcards.shard, output=snakemake.output.shard),
        manifest=Path(snakemake.input.manifest),
        variant=snakemake.config["motion"][wildcards.variant],
    )
