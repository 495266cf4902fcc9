"""A linear probe."""

from collections import OrderedDict

from torch import nn

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Layout
from moclip.training.head_strategy import HeadStrategy


class LinearHead(HeadStrategy):
    """One linear layer on the concatenated embeddings."""

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return an untrained linear layer named `classifier`."""
        return nn.Sequential(OrderedDict[str, nn.Module](classifier=nn.Linear(layout.width, num_classes)))


STRATEGY = LinearHead()
