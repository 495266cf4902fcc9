"""MoCLIP-Lite: video action recognition from frozen CLIP embeddings and the codec's own motion vectors.

>>> import moclip
>>> sorted(moclip.__all__)
['FeatureStore', 'FieldSpec', 'Predictor', '__version__', 'build_fields', 'read_motion']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moclip.cache.tables import read_motion
    from moclip.inference.feature_store import FeatureStore
    from moclip.inference.predictor import Predictor
    from moclip.motion.fields import FieldSpec, build_fields

__version__ = "0.1.0"
__all__ = ["FeatureStore", "FieldSpec", "Predictor", "__version__", "build_fields", "read_motion"]


_MODULES = {
    "FeatureStore": "moclip.inference.feature_store",
    "FieldSpec": "moclip.motion.fields",
    "Predictor": "moclip.inference.predictor",
    "build_fields": "moclip.motion.fields",
    "read_motion": "moclip.cache.tables",
}


def __getattr__(name: str) -> Any:
    """Return a public name, whose module is imported on first use: torch and FFmpeg take seconds."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
