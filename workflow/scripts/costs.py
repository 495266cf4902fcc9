"""Write what each method costs."""

import json
from pathlib import Path

from moclip.core.job import stage
from moclip.evaluation.costs import CostRun, write_costs

with stage(snakemake):
    write_costs(
        Path(snakemake.output.costs),
        runs=[CostRun.from_entry(entry) for entry in json.loads(snakemake.params.cfg)],
        dataset=snakemake.config["dataset"]["name"],
        cache_dir=Path(snakemake.config["cache_dir"]),
    )
