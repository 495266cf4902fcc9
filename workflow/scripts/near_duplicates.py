"""Find near-duplicates among the videos."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.evaluation.near_duplicates import write_near_duplicates

with stage(snakemake):
    limits = Settings.model_validate(snakemake.config).dataset.near_duplicates
    write_near_duplicates(
        Path(snakemake.output.near_duplicates),
        manifest=Path(snakemake.input.manifest),
        features={name: [Path(path) for path in snakemake.input.get(name, [])] for name in ("appearance", "motion")},
        similarity={"appearance": limits.similarity, "motion": limits.motion_similarity},
    )
