"""Extract the frame embeddings of one shard."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.appearance import extract_appearance_shard
from moclip.extraction.extractor import ShardJob

with stage(snakemake):
    wildcards = snakemake.wildcards
    extract_appearance_shard(
        ShardJob.from_config(snakemake.config, shard=wildcards.shard, output=snakemake.output.shard),
        manifest=Path(snakemake.input.manifest),
        variant=snakemake.config["appearance"][wildcards.variant],
        num_threads=snakemake.threads,
        motion_index=Path(snakemake.input.motion) if snakemake.input.motion else None,
    )
