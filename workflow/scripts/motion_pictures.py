"""Draw a few training videos as a motion network sees them."""

import json
from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.report.draw import write_motion_pictures

with stage(snakemake):
    write_motion_pictures(
        Path(snakemake.output.page),
        manifest=Path(snakemake.input.manifest),
        motion_index=Path(snakemake.input.motion),
        variant=snakemake.wildcards.variant,
        settings=Settings.model_validate(snakemake.config),
        splits=json.loads(snakemake.params.cfg)["splits"],
    )
