"""Check the motion shards and write the index over them."""

from pathlib import Path

from moclip.core.job import stage
from moclip.extraction.motion import index_motion

with stage(snakemake):
    dataset = snakemake.config["dataset"]
    index_motion(
        snakemake.config["motion"][snakemake.wildcards.variant],
        manifest=Path(snakemake.input.manifest),
        root=Path(dataset["root"]),
        num_shards=dataset["num_shards"],
        output=Path(snakemake.output.index),
    )
