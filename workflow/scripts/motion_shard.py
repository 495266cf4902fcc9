"""Extract the motion vectors of one shard."""

import json
from pathlib import Path

from moclip.extraction import ShardJob
from moclip.motion_extraction import extract_motion_shard
from moclip.stage import stage

with stage(snakemake.log[0]):
    job = ShardJob.from_config(
        snakemake.config, manifest=snakemake.input.manifest, shard=snakemake.wildcards.shard, output=snakemake.output.shard
    )
    extract_motion_shard(job, variant=json.loads(snakemake.params.cfg)["motion"])
