"""Extract the motion vectors of one shard."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion import extract_motion_shard

with stage(snakemake):
    settings, wildcards = Settings.model_validate(snakemake.config), snakemake.wildcards
    extract_motion_shard(
        ShardJob.from_settings(settings, shard=wildcards.shard, output=snakemake.output.shard),
        manifest=Path(snakemake.input.manifest),
        variant=settings.motion[wildcards.variant],
    )
