"""Write which method is better than which on the same videos."""

import json
from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.evaluation.tables import compare_runs

with stage(snakemake):
    compare_runs(
        [Path(path) for path in snakemake.input.predictions],
        comparisons=Path(snakemake.output.comparisons),
        gains=Path(snakemake.output.gains),
        manifest=Path(snakemake.input.manifest),
        rejected_test_videos=snakemake.params.policy,
        are_folds=Settings.model_validate(snakemake.config).dataset.splits.folds > 0,
        refit=json.loads(snakemake.params.cfg)["refit"],
    )
