"""Check the appearance shards and write the index over them."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.appearance import index_appearance

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    index_appearance(
        settings.appearance[snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        root=Path(settings.dataset.root),
        num_shards=settings.dataset.num_shards,
        output=Path(snakemake.output.index),
        cache_dir=Path(settings.cache_dir),
        motion_index=Path(snakemake.input.motion) if snakemake.input.motion else None,
    )
