"""Write the page that shows what the videos are made of."""

from pathlib import Path

from moclip.datacard import write_datacard
from moclip.stage import stage

with stage(snakemake):
    write_datacard(
        Path(snakemake.output.datacard),
        dataset_name=snakemake.config["dataset"]["name"],
        manifest=Path(snakemake.input.manifest),
        indexes=[Path(path) for path in snakemake.input.indexes],
    )
