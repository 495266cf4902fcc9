"""List the videos of the dataset before their near-duplicates are known."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.dataset.fingerprints import memo_file
from moclip.dataset.manifest import build_manifest, write_manifest

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    memo = memo_file(Path(settings.cache_dir), dataset=settings.dataset.name)
    write_manifest(build_manifest(settings.dataset, memo=memo), Path(snakemake.output.videos))
