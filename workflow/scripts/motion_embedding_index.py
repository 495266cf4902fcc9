"""Check the motion embedding shards and write the index over them."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.motion_embedding import index_motion_embedding

with stage(snakemake):
    index_motion_embedding(
        snakemake.config["motion_network"][snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        motion_index=Path(snakemake.input.motion),
        model=Path(snakemake.input.model),
        num_shards=snakemake.config["dataset"]["num_shards"],
        output=Path(snakemake.output.index),
    )
