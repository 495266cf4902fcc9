"""Heads as ONNX graphs; torch is the reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.inference.onnx import TOLERANCE, HeadGraph, export_onnx, has_graph
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_inputs import Fold, Layout
from moclip.training.head_training import train_head


def trained(kind: Any, *, layout: Layout, **changes: Any) -> TrainedHead:
    rng = np.random.default_rng(0)
    fold = Fold(inputs=rng.normal(size=(30, layout.width)).astype(np.float32), labels=rng.integers(0, 3, 30))
    config = HeadConfig(kind=kind, hidden=8, epochs=1, neighbours=(1,), **changes)
    return train_head(fold, fold, num_classes=3, config=config, seed=0, layout=layout)


@pytest.mark.parametrize("normalise", ["none", "l2", "layer"])
@pytest.mark.parametrize("kind", ["linear", "mlp", "gated"])
def test_a_head_of_two_streams_is_exported_with_its_scaling(kind: str, normalise: str, tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra `export` is not installed")
    head = trained(kind, layout=Layout(motion=4, appearance=5), normalise=normalise)
    shapes = {"motion": (4,), "appearance": (5,)}
    report = export_onnx(HeadGraph(head), tmp_path / "head.onnx", inputs=shapes, outputs=("logits",))
    assert report.difference <= TOLERANCE


def test_neighbours_and_heads_that_see_every_frame_have_no_graph() -> None:
    plain = Layout(motion=4, appearance=5)
    assert [has_graph(trained(kind, layout=plain)) for kind in ("knn", "gated")] == [False, True]
    assert not has_graph(trained("attention", layout=Layout(motion=2, appearance=3, frames=2)))
