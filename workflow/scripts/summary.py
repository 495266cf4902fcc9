"""Write the table over all runs."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.report.tables import summarise_runs

with stage(snakemake):
    summarise_runs(
        [Path(path) for path in snakemake.input.metrics],
        output=Path(snakemake.output.summary),
        are_folds=Settings.model_validate(snakemake.config).dataset.splits.folds > 0,
    )
