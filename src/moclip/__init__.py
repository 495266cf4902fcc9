"""MoCLIP-Lite: video action recognition from frozen CLIP embeddings and the codec's own motion vectors.

>>> import moclip
>>> sorted(moclip.__all__)
['FeatureStore', 'Predictor', '__version__']
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moclip.inference.feature_store import FeatureStore
    from moclip.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["FeatureStore", "Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    """Return what is public, imported when it is first asked for: torch and FFmpeg take seconds."""
    if name == "FeatureStore":
        from moclip.inference.feature_store import FeatureStore  # noqa: PLC0415

        return FeatureStore
    if name == "Predictor":
        from moclip.inference.predictor import Predictor  # noqa: PLC0415

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
