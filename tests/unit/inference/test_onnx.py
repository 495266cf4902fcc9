"""Heads as ONNX graphs; torch is the reference."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from moclip import __version__
from moclip.core.tensors import DIGEST_KEY, read_note
from moclip.encoders.motion_network import build_network, save_network
from moclip.inference import onnx as onnx_export
from moclip.inference.onnx import TOLERANCE, HeadGraph, MotionGraph, export_onnx, has_graph
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_inputs import Fold, Layout
from moclip.training.head_training import train_head


def trained(kind: Any, *, layout: Layout, **changes: Any) -> TrainedHead:
    rng = np.random.default_rng(0)
    fold = Fold(inputs=rng.normal(size=(30, layout.width)).astype(np.float32), labels=rng.integers(0, 3, 30))
    config = HeadConfig(kind=kind, hidden=8, epochs=1, neighbours=(1,), **changes)
    return train_head(fold, fold, num_classes=3, config=config, seed=0, layout=layout)


def skip_without_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra `export` is not installed")


@pytest.mark.parametrize("normalise", ["none", "l2", "layer"])
@pytest.mark.parametrize("kind", ["linear", "mlp", "gated"])
def test_a_head_of_two_streams_is_exported_with_its_scaling(kind: str, normalise: str, tmp_path: Path) -> None:
    skip_without_onnx()
    head = trained(kind, layout=Layout(motion=4, appearance=5), normalise=normalise)
    shapes = {"motion": (4,), "appearance": (5,)}
    report = export_onnx(
        HeadGraph(head), tmp_path / "head.onnx", inputs=shapes, outputs=("logits",), preprocessing={}, about={}
    )
    assert report.difference <= TOLERANCE


def test_a_graph_carries_what_a_stranger_must_know(tmp_path: Path) -> None:
    skip_without_onnx()
    network = build_network("test_efficientnet", weights="none", num_classes=2, dropout=0.0).eval()
    save_network(network, tmp_path / "network.safetensors", about={})
    made = {"max_px": 20, "field": {"kind": "raw"}}
    export_onnx(
        MotionGraph(network),
        tmp_path / "motion_network.onnx",
        inputs={"fields": (2, 32, 32)},
        outputs=("embedding", "logits"),
        preprocessing=made,
        about={"run": "fusion/split-1/seed-0", "class_names": ["Lunges", 'Über "x"']},
    )
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(tmp_path / "motion_network.onnx", providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found["name"] == "motion_network"
    assert found["run"] == "fusion/split-1/seed-0"
    assert json.loads(found["inputs"]) == {"fields": ["rows", 2, 32, 32]}
    assert json.loads(found["outputs"]) == [output.name for output in session.get_outputs()]
    assert json.loads(found["preprocessing"]) == made
    assert json.loads(found["class_names"]) == ["Lunges", 'Über "x"']
    assert found["moclip_version"] == __version__
    assert found["weights_digest"] == read_note(tmp_path / "network.safetensors")[DIGEST_KEY]


@pytest.mark.parametrize("backbone", ["efficientnet_b0", "mobilenetv2_100"])
def test_an_export_writes_no_warning(backbone: str, tmp_path: Path) -> None:
    skip_without_onnx()
    # In another process, since native libraries write to the file descriptor.
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from moclip.encoders.motion_network import build_network\n"
        "from moclip.inference.onnx import MotionGraph, export_onnx\n"
        "network = build_network(sys.argv[1], weights='none', num_classes=2, dropout=0.0).eval()\n"
        "export_onnx(MotionGraph(network), Path('model.onnx'), inputs={'fields': (2, 64, 64)},\n"
        "            outputs=('embedding', 'logits'), preprocessing={}, about={})\n"
    )
    command = [sys.executable, "-c", code, backbone]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_heads_without_a_graph_are_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[str] = []
    monkeypatch.setattr(onnx_export, "export_onnx", lambda graph, path, **_: written.append(path.stem))
    both, one = Layout(motion=4, appearance=5), Layout(appearance=5)
    heads = {
        "fusion": trained("mlp", layout=both),
        "appearance": trained("mlp", layout=one),
        "motion_head": trained("knn", layout=Layout(motion=4)),
    }
    # Score fusion reads the appearance head, which is no method of this run.
    parts: Any = SimpleNamespace(methods=("fusion", "score_fusion"), load_heads=lambda: SimpleNamespace(heads=heads))
    list(onnx_export._export_heads(parts, tmp_path, about={}))
    assert written == ["head_fusion", "head_appearance"]
    assert [record.getMessage() for record in caplog.records] == [
        "motion_head: a head of kind knn has no ONNX form here and is left out"
    ]


def test_neighbours_and_heads_that_see_every_frame_have_no_graph() -> None:
    plain = Layout(motion=4, appearance=5)
    assert [has_graph(trained(kind, layout=plain)) for kind in ("knn", "gated")] == [False, True]
    assert not has_graph(trained("attention", layout=Layout(motion=2, appearance=3, frames=2)))
