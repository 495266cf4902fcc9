"""Build the manifest of the dataset."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.dataset.fingerprints import memo_file
from moclip.dataset.manifest import build_manifest, write_manifest

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    memo = memo_file(Path(settings.cache_dir), dataset=settings.dataset.name)
    found = snakemake.input.get("near_duplicates")
    frame = build_manifest(settings.dataset, memo=memo, near_duplicates=Path(found) if found else None)
    write_manifest(frame, Path(snakemake.output.manifest))
