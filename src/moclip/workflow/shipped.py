"""Find the files that the project ships from any working directory: prompts, encoders, and the conda environment."""

from pathlib import Path

from moclip.config.settings import Settings
from moclip.core.files import locate
from moclip.encoders.spec import locate_encoder

_SCRIPTS = "workflow/scripts"

_EDITABLE = "- --editable ."


def find_home(folder: str) -> Path:
    """Return the folder of the project, given that of its Snakefile, which may be a URL.

    Scripts, prompts and environments are then those of the installed library.
    """
    home = Path(folder)
    return home if (home / _SCRIPTS).is_dir() else Path(__file__).resolve().parents[3]


def find_shipped(settings: Settings, *, home: Path) -> Settings:
    """Return settings whose prompts and encoders are those below `home` if the working directory lacks them."""
    text = {
        name: variant.model_copy(
            update={"templates": locate(variant.templates, home=home), "phrases": locate(variant.phrases, home=home)}
        )
        for name, variant in settings.text.items()
    }
    appearance = {name: locate_encoder(variant, home=home) for name, variant in settings.appearance.items()}
    return settings.model_copy(update={"text": text, "appearance": appearance})


def environment_file(home: Path, *, uses_conda: bool) -> str:
    """Return the conda environment of the rules.

    Conda installs it from another folder, so that it gets a copy that names this project by its whole path.
    """
    own = home / "environment.yml"
    if not uses_conda:
        return str(own)
    copy = Path(".snakemake", "moclip-environment.yml").absolute()
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(own.read_text(encoding="utf-8").replace(_EDITABLE, f"- --editable {home}"), encoding="utf-8")
    return str(copy)
