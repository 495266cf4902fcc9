"""Draw the learning curve of one motion network."""

from pathlib import Path

from moclip.core.job import stage
from moclip.report.experiment import write_network_curve

with stage(snakemake):
    wildcards = snakemake.wildcards
    write_network_curve(
        Path(snakemake.output.curve),
        history=Path(snakemake.input.history),
        title=f"{wildcards.variant}, split {wildcards.split}, seed {wildcards.seed}",
    )
