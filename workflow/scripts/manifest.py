"""Build the manifest of the dataset."""

from pathlib import Path

from moclip.manifest import build_manifest, memo_file, write_manifest
from moclip.stage import stage

with stage(snakemake):
    dataset = snakemake.config["dataset"]
    memo = memo_file(Path(snakemake.config["cache_dir"]), dataset=dataset["name"])
    write_manifest(build_manifest(dataset, memo=memo), Path(snakemake.output.manifest))
