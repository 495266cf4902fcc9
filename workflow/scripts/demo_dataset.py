"""Render the demo videos and write their lists."""

from pathlib import Path

from moclip.core.files import replace_atomically
from moclip.core.job import stage
from moclip.dataset.demo import build_demo_dataset

with stage(snakemake):
    complete = Path(snakemake.output.complete)
    build_demo_dataset(complete.parent, seed=0, num_workers=snakemake.threads)
    with replace_atomically(complete) as temporary:
        temporary.write_text("{}\n", encoding="utf-8")
