"""Zero-shot classification by cosine similarity of image and class embeddings."""

import numpy as np
from numpy.typing import NDArray

from moclip.errors import ModelError

Floats = NDArray[np.float32]

SCALE = 100.0  # CLIP's temperature after training


def zero_shot_logits(images: Floats, classes: Floats) -> Floats:
    """Return 100 x cosine, float32 (N, K), of image embeddings (N, D) of any length and class embeddings (K, D).

    Raises:
        ModelError: The two are of different widths, or an embedding has no length.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.4.
    """
    if images.shape[1] != classes.shape[1]:
        raise ModelError(
            f"zero-shot: expected embeddings of one width, found {images.shape[1]} (images) and {classes.shape[1]} "
            "(classes); the text variant must name the run's appearance variant"
        )
    return np.asarray(SCALE * _unit(images) @ _unit(classes).T, dtype=np.float32)


def _unit(values: Floats) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ModelError("zero-shot: expected embeddings with a length, found zeros, nan or infinity")
    return np.asarray(wide / lengths)
