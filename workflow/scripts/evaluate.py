"""Test one run, once."""

import json
from pathlib import Path

from moclip.core.job import stage
from moclip.core.machine import read_commit
from moclip.evaluation.run_stage import write_run

with stage(snakemake):
    inputs, config = snakemake.input, json.loads(snakemake.params.cfg)
    write_run(
        Path(snakemake.output.metrics).parent,
        manifest=Path(inputs.manifest),
        heads=Path(inputs.heads),
        inputs={name: Path(inputs[name]) for name in ("motion", "appearance", "text", "network") if inputs.get(name)},
        methods=config["experiment"]["methods"],
        shots=config["experiment"]["shots"],
        config=config,
        split=int(snakemake.wildcards.split),
        seed=int(snakemake.wildcards.seed),
        rejected_test_videos=snakemake.params.policy,
        cache_dir=Path(snakemake.config["cache_dir"]),
        commit=read_commit(Path(snakemake.scriptdir)),
    )
