"""A bundle: one folder with all that a prediction needs, to copy to another machine."""

from pathlib import Path

from moclip.run_parts import RunParts

BUNDLE_NAME = "bundle.json"


def load_bundle(folder: Path) -> RunParts:
    raise NotImplementedError
