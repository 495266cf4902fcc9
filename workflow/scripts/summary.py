"""Write the table over all runs."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.evaluation.tables import summarise_runs

with stage(snakemake):
    summarise_runs(
        [Path(path) for path in snakemake.input.metrics],
        predictions=[Path(path) for path in snakemake.input.predictions],
        output=Path(snakemake.output.summary),
        manifest=Path(snakemake.input.manifest),
        dataset=Settings.model_validate(snakemake.config).dataset,
    )
