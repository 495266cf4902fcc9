"""Training samples of a motion network, drawn in batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from moclip.config.network_settings import MotionNetworkVariant
from moclip.core.prefetch import prefetch
from moclip.encoders.motion_input import draw_view
from moclip.motion.vectors import MotionVectors


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled video; `motion` reads its vectors from the cache, from any thread."""

    video_id: str
    class_index: int
    motion: Callable[[], MotionVectors]


def draw_batches(
    samples: Sequence[Sample],
    *,
    variant: MotionNetworkVariant,
    seed: Callable[[Sample], int],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield crops, uint8 (B, S, 2, P, P), and class indices, int64 (B,), of the samples in the order given."""
    batch_size = variant.train.batch_size

    def draw(sample: Sample) -> Tensor:
        return draw_view(sample.motion(), variant=variant, num_segments=variant.train.num_segments, seed=seed(sample))

    made = prefetch((partial(draw, sample) for sample in samples), threads=variant.loaders, num_ahead=3 * batch_size)
    for start in range(0, len(samples), batch_size):
        group = samples[start : start + batch_size]
        yield torch.stack(list(islice(made, len(group)))), torch.tensor([sample.class_index for sample in group])
