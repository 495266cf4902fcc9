"""Check the motion shards and write the index over them."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.motion import index_motion

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    index_motion(
        settings.motion[snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        root=Path(settings.dataset.root),
        num_shards=settings.dataset.num_shards,
        output=Path(snakemake.output.index),
    )
