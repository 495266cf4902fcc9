"""Write what each method costs."""

import json
from pathlib import Path

from moclip.core.job import stage
from moclip.evaluation.costs import CostRun, write_costs

with stage(snakemake):
    output = Path(snakemake.output.costs)
    write_costs(
        output,
        runs=[CostRun.from_entry(entry) for entry in json.loads(snakemake.params.cfg)],
        results=output.parent,
        logs=Path(snakemake.log[0]).parent,
        benchmarks=Path(snakemake.params.benchmarks),
    )
