"""The configurations that the project ships. A name with a dash is an overlay: `ucf101-b16` is merged into `ucf101`."""

from pathlib import Path
from typing import Any

import yaml

from moclip.config.validation import merge_configs

_FOLDER = Path(__file__).resolve().parents[1] / "config"

SHIPPED = sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_shipped(name: str) -> dict[str, Any]:
    """Return a shipped configuration, unchecked; an overlay with the one that it is merged into."""
    names = dict.fromkeys([name.split("-", maxsplit=1)[0], name])
    return merge_configs(yaml.safe_load((_FOLDER / f"{each}.yaml").read_text(encoding="utf-8")) for each in names)
