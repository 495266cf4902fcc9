"""Build the manifest of the dataset."""

from pathlib import Path

from moclip.manifest import build_manifest, write_manifest
from moclip.stage import stage

with stage(snakemake.log[0]):
    dataset = snakemake.config["dataset"]
    memo = Path(snakemake.config["cache_dir"]) / "fingerprints" / f"{dataset['name']}.tsv"
    write_manifest(build_manifest(dataset, memo=memo), Path(snakemake.output.manifest))
