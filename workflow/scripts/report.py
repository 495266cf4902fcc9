"""Write the page that shows the results."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.report.results import ReportTables, write_report

with stage(snakemake):
    write_report(
        Path(snakemake.output.report),
        figures=[Path(path) for path in snakemake.output.pdf],
        manifest=Path(snakemake.input.manifest),
        rejects=Path(snakemake.input.rejects),
        tables=ReportTables(
            summary=Path(snakemake.input.summary),
            comparisons=Path(snakemake.input.comparisons),
            gains=Path(snakemake.input.gains),
            costs=Path(snakemake.input.costs),
        ),
        datacard=Path(snakemake.input.datacard),
        runs=[Path(path) for path in snakemake.input.metrics],
        networks=[Path(path) for path in snakemake.input.networks],
        mistakes=next(map(Path, snakemake.input.mistakes), None),
        settings=Settings.model_validate(snakemake.config),
    )
