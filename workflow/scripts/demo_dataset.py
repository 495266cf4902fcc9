"""Render the videos of a generated dataset and write their lists."""

import json
from pathlib import Path

from moclip.core.files import replace_atomically
from moclip.core.job import stage
from moclip.dataset.demo import build_demo_dataset

with stage(snakemake):
    complete = Path(snakemake.output.complete)
    kind = json.loads(snakemake.params.cfg)["generate"]
    build_demo_dataset(complete.parent, kind=kind, seed=0, num_workers=snakemake.threads)
    with replace_atomically(complete) as temporary:
        temporary.write_text("{}\n", encoding="utf-8")
