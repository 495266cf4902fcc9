"""Train the heads of one run."""

from pathlib import Path

from moclip.stage import stage
from moclip.training import train_run_heads

with stage(snakemake.log[0]):
    config, wildcards = snakemake.config, snakemake.wildcards
    experiment = config["experiments"][wildcards.experiment]
    train_run_heads(
        Path(snakemake.output.head),
        history=Path(snakemake.output.history),
        manifest=Path(snakemake.input.manifest),
        indexes={name: Path(snakemake.input[name]) for name in ("motion", "appearance") if snakemake.input.get(name)},
        methods=experiment["methods"],
        variant=config["head"].get(experiment.get("head"), {}),
        split=int(wildcards.split),
        seed=int(wildcards.seed),
    )
