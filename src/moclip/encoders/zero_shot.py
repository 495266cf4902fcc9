"""Zero-shot classification by cosine similarity of image and class embeddings."""

import numpy as np
from numpy.typing import NDArray

from moclip.core.numerics import unit
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
    for values in (images, classes):
        if not (np.isfinite(values).all() and values.any(axis=1).all()):
            raise ModelError("zero-shot: expected embeddings with a length, found zeros, nan or infinity")
    return np.asarray(SCALE * unit(images) @ unit(classes).T, dtype=np.float32)
