"""Train the motion network of one split and seed."""

from pathlib import Path

from moclip.core.job import stage
from moclip.training.motion_stage import train_network

with stage(snakemake):
    train_network(
        Path(snakemake.output.model),
        history=Path(snakemake.output.history),
        manifest=Path(snakemake.input.manifest),
        motion_index=Path(snakemake.input.motion),
        variant=snakemake.config["motion_network"][snakemake.wildcards.variant],
        split=int(snakemake.wildcards.split),
        seed=int(snakemake.wildcards.seed),
        cache_dir=Path(snakemake.config["cache_dir"]),
    )
