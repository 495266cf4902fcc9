"""Embed the prompts of every class."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.extraction.text import write_class_embeddings

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    variant = settings.text[snakemake.wildcards.variant]
    write_class_embeddings(
        Path(snakemake.output.classes),
        manifest=Path(snakemake.input.manifest),
        variant=variant,
        appearance=settings.appearance[variant.appearance],
        cache_dir=Path(settings.cache_dir),
    )
