"""Write the page that shows the results."""

from pathlib import Path

from moclip.stage import stage
from moclip.tables import write_report

with stage(snakemake.log[0]):
    write_report(
        Path(snakemake.output.report),
        manifest=Path(snakemake.input.manifest),
        rejects=Path(snakemake.input.rejects),
        summary=Path(snakemake.input.summary),
        runs=[Path(path).parent for path in snakemake.input.metrics],
        networks=[Path(path).parent for path in snakemake.input.networks],
        mistakes=next(map(Path, snakemake.input.mistakes), None),
        config=snakemake.config,
    )
