"""The counts of multiply-accumulates are those of the literature."""

import numpy as np
import open_clip
import pytest
import torch

from moclip.encoders.motion_network import build_network
from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Fold, Layout
from moclip.training.head_training import train_head
from moclip.training.mac_counting import count_head, count_macs


def test_the_papers_head_has_its_parameters_and_a_mac_for_each_weight() -> None:
    fold = Fold(inputs=np.zeros((4, 1792), np.float32), labels=np.zeros(4, np.int64))
    config = HeadConfig(epochs=1)
    layout = Layout(motion=1280, appearance=512)
    head = train_head(fold, fold, num_classes=101, config=config, seed=0, layout=layout)
    assert count_head(head) == (969_829, 1792 * 512 + 512 * 101)
    neighbours = train_head(fold, fold, num_classes=101, config=HeadConfig(kind="knn"), seed=0)
    assert count_head(neighbours) == (0, 4 * 1792)


def test_a_mac_is_counted_once_and_not_as_two_flops() -> None:
    assert count_macs(lambda: torch.zeros(3, 5) @ torch.zeros(5, 7)) == 3 * 5 * 7


def test_the_image_tower_of_vit_b_32_has_4_4_billion_macs() -> None:
    with torch.device("meta"):
        visual = open_clip.create_model("ViT-B-32", pretrained=None, device="meta").visual.eval()
        macs = count_macs(lambda: visual(torch.zeros(1, 3, 224, 224)))
    assert macs / 1e9 == pytest.approx(4.41, abs=0.03)


def test_efficientnet_b0_over_two_channels_has_0_38_billion_macs_a_crop() -> None:
    network = build_network("efficientnet_b0", weights="none", num_classes=101, dropout=0.0).eval()
    assert count_macs(lambda: network(torch.zeros(1, 2, 224, 224))) / 1e9 == pytest.approx(0.381, abs=0.01)
