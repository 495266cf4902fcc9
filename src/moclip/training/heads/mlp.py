"""The paper's head: one hidden layer.

`Linear(1280 + 512, 512) -> ReLU -> Dropout(0.5) -> Linear(512, 101)` has 969,829 parameters. The same head on the
appearance embedding alone is the control for the contribution of motion.
"""

from collections import OrderedDict

from torch import nn

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Layout
from moclip.training.head_strategy import HeadStrategy


class MlpHead(HeadStrategy):
    """A hidden layer, dropout and a linear classifier on the concatenated embeddings.

    Source: Huang et al. 2025 (arXiv 2509.17084), section 3.3.
    """

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return the untrained layers."""
        return nn.Sequential(list_mlp_layers(layout.pooled, num_classes=num_classes, config=config))


def list_mlp_layers(width: int, *, num_classes: int, config: HeadConfig) -> OrderedDict[str, nn.Module]:
    """Return the untrained layers of the MLP by name, for inputs of this width."""
    return OrderedDict[str, nn.Module](
        hidden=nn.Linear(width, config.hidden),
        activation=nn.ReLU(),
        dropout=nn.Dropout(config.dropout),
        classifier=nn.Linear(config.hidden, num_classes),
    )


STRATEGY = MlpHead()
