"""List every video that a stage left out, and why."""

from pathlib import Path

from moclip.core.job import stage
from moclip.evaluation.tables import write_rejects

with stage(snakemake):
    write_rejects(Path(snakemake.output.rejects), indexes=[Path(path) for path in snakemake.input.indexes])
