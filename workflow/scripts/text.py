"""Embed the prompts of every class."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.text import write_class_embeddings

with stage(snakemake):
    variant = snakemake.config["text"][snakemake.wildcards.variant]
    write_class_embeddings(
        Path(snakemake.output.classes),
        manifest=Path(snakemake.input.manifest),
        variant=variant,
        appearance=snakemake.config["appearance"][variant["appearance"]],
        cache_dir=Path(snakemake.config["cache_dir"]),
    )
