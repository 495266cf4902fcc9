"""Build the manifest of the dataset."""

import json
from pathlib import Path

from moclip.manifest import build_manifest, write_manifest
from moclip.stage import stage

with stage(snakemake.log[0]):
    output = Path(snakemake.output.manifest)
    dataset = json.loads(snakemake.params.cfg)["dataset"]
    frame = build_manifest(dataset, memo=Path(snakemake.config_cache) / f"{dataset['name']}-fingerprints.tsv")
    write_manifest(frame, output)
