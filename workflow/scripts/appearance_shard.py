"""Extract the frame embeddings of one shard."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.appearance import extract_appearance_shard
from moclip.extraction.extractor import ShardJob

with stage(snakemake):
    settings, wildcards = Settings.model_validate(snakemake.config), snakemake.wildcards
    extract_appearance_shard(
        ShardJob.from_settings(settings, shard=wildcards.shard, output=snakemake.output.shard),
        manifest=Path(snakemake.input.manifest),
        variant=settings.appearance[wildcards.variant],
        num_threads=snakemake.threads,
        motion_index=Path(snakemake.input.motion) if snakemake.input.motion else None,
    )
