"""Embed the prompts of every class."""

from pathlib import Path

from moclip.class_embeddings import write_class_embeddings
from moclip.stage import stage

with stage(snakemake):
    variant = snakemake.config["text"][snakemake.wildcards.variant]
    write_class_embeddings(
        Path(snakemake.output.classes),
        manifest=Path(snakemake.input.manifest),
        variant=variant,
        appearance=snakemake.config["appearance"][variant["appearance"]],
        cache_dir=Path(snakemake.config["cache_dir"]),
    )
