"""Check the appearance shards and write the index over them."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.appearance import index_appearance

with stage(snakemake):
    dataset = snakemake.config["dataset"]
    index_appearance(
        snakemake.config["appearance"][snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        root=Path(dataset["root"]),
        num_shards=dataset["num_shards"],
        output=Path(snakemake.output.index),
        cache_dir=Path(snakemake.config["cache_dir"]),
        motion_index=Path(snakemake.input.motion) if snakemake.input.motion else None,
    )
