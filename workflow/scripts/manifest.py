"""Build the manifest of the dataset."""

from pathlib import Path

from moclip.config.settings import Dataset
from moclip.core.job import stage
from moclip.dataset.fingerprints import memo_file
from moclip.dataset.manifest import build_manifest, write_manifest

with stage(snakemake):
    dataset = Dataset(**snakemake.config["dataset"])
    memo = memo_file(Path(snakemake.config["cache_dir"]), dataset=dataset.name)
    write_manifest(build_manifest(dataset, memo=memo), Path(snakemake.output.manifest))
