"""Extract the motion vectors of one shard."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion import extract_motion_shard

with stage(snakemake):
    wildcards = snakemake.wildcards
    extract_motion_shard(
        ShardJob.from_config(snakemake.config, shard=wildcards.shard, output=snakemake.output.shard),
        manifest=Path(snakemake.input.manifest),
        variant=snakemake.config["motion"][wildcards.variant],
    )
