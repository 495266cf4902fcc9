"""Extract the frame embeddings of one shard."""

from pathlib import Path

from moclip.appearance_extraction import extract_appearance_shard
from moclip.extraction import ShardJob
from moclip.stage import stage

with stage(snakemake):
    wildcards = snakemake.wildcards
    extract_appearance_shard(
        ShardJob.from_config(snakemake.config, shard=wildcards.shard, output=snakemake.output.shard),
        manifest=Path(snakemake.input.manifest),
        variant=snakemake.config["appearance"][wildcards.variant],
        num_threads=snakemake.threads,
        motion_index=Path(snakemake.input.motion) if snakemake.input.motion else None,
    )
