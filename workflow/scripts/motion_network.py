"""Train the motion network of one split and seed."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.training.motion_stage import train_network

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    train_network(
        Path(snakemake.output.model),
        history=Path(snakemake.output.history),
        manifest=Path(snakemake.input.manifest),
        motion_index=Path(snakemake.input.motion),
        variant=settings.motion_network[snakemake.wildcards.variant],
        split=int(snakemake.wildcards.split),
        seed=int(snakemake.wildcards.seed),
        cache_dir=Path(settings.cache_dir),
    )
