"""Draw some of the test videos that an experiment got wrong."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.job import stage
from moclip.report.mistakes import draw_mistakes

with stage(snakemake):
    settings = Settings.model_validate(snakemake.config)
    draw_mistakes(
        Path(snakemake.output.mistakes),
        predictions=[Path(path) for path in snakemake.input.predictions],
        experiment=snakemake.params.experiment,
        manifest=Path(snakemake.input.manifest),
        motion_index=next(map(Path, snakemake.input.motion), None),
        root=Path(settings.dataset.root),
        number=settings.report.mistakes,
    )
