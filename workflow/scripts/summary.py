"""Write the table over all runs."""

from pathlib import Path

from moclip.core.job import stage
from moclip.evaluation.tables import summarise_runs

with stage(snakemake):
    summarise_runs([Path(path) for path in snakemake.input.metrics], output=Path(snakemake.output.summary))
