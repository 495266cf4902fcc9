"""Draw the learning curve of one motion network."""

from pathlib import Path

from moclip.network_curve import write_network_curve
from moclip.stage import stage

with stage(snakemake):
    wildcards = snakemake.wildcards
    write_network_curve(
        Path(snakemake.output.curve),
        history=Path(snakemake.input.history),
        title=f"{wildcards.variant}, split {wildcards.split}, seed {wildcards.seed}",
    )
