"""Write the page that shows what the videos are made of."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.report.datacard import write_datacard

with stage(snakemake):
    write_datacard(
        Path(snakemake.output.datacard),
        card=Path(snakemake.output.card),
        dataset=Settings.model_validate(snakemake.config).dataset,
        manifest=Path(snakemake.input.manifest),
        near_duplicates=Path(snakemake.input.near_duplicates),
        indexes=[Path(path) for path in snakemake.input.indexes],
    )
