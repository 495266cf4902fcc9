"""The code of a bundle's README makes the inputs of its ONNX graphs as the workflow does, without moclip."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant, FrameSettings
from moclip.encoders.clip import load_encoder
from moclip.encoders.motion_input import build_segments, crop_for_test, decode_crops
from moclip.inference.model_card import build_card
from moclip.inference.onnx import describe_motion_input, describe_pictures
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import MotionSource, read_motion
from moclip.video.sampling import choose_frames
from tests.unit.encoders.motion_networks import variant
from tests.unit.inference.test_model_card import card_facts
from tests.unit.video.test_motion_vectors import encode, pan, render

FENCE = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
STEP = 1 / 255  # of the pixel code
# What the session of each graph returns: arrays without meaning, of one row for each row that goes in.
NUM_OUTPUTS = {"motion_network": 2}

Feeds = dict[str, dict[str, NDArray[Any]]]


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Feeds:
    """Record what is fed to each graph; the packages of the export need not be installed."""
    recorded: Feeds = {}

    class InferenceSession:
        def __init__(self, path: str, providers: list[str]) -> None:
            self.name = Path(path).stem

        def run(self, outputs: None, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
            recorded[self.name] = inputs
            rows = len(next(iter(inputs.values())))
            return [np.zeros((rows, 2), np.float32)] * NUM_OUTPUTS.get(self.name, 1)

    module = ModuleType("onnxruntime")
    module.__dict__["InferenceSession"] = InferenceSession
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps({"temperatures": {}, "class_names": ["a", "b"]}))
    return recorded


def run_card(graphs: dict[str, Any]) -> None:
    card = build_card(replace(card_facts(), graphs=graphs))
    code = "\n".join(FENCE.findall(card))
    assert "moclip." not in code
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 (what the page tells its readers to run)


MOTION = {
    "window": {"field": {"kind": "accumulated", "window": 6, "stride": 4}},
    "keyframe": {"field": {"kind": "accumulated", "window": 0, "stride": 1}},
    "raw": {"field": {"kind": "raw", "stride": 8}, "input_px": 40},
    "squash": {"field": {"kind": "accumulated", "window": 3, "stride": 2}, "geometry": "squash", "max_px": 7.5},
    "rescaled": {"field": {"kind": "raw", "stride": 2}, "geometry": "squash", "rescale_vectors": True},
    "ten-crops": {"field": {"kind": "accumulated", "window": 8, "stride": 4}, "crops": 5, "flips": True},
}
VIDEOS: dict[str, dict[str, Any]] = {
    "h264-b": {"codec": "h264", "gop": 9, "max_b_frames": 2},
    "h264": {"codec": "h264", "gop": 50, "max_b_frames": 0},
    "mpeg4": {"codec": "mpeg4", "gop": 12, "max_b_frames": 0},
}


def network_of(name: str) -> MotionNetworkVariant:
    changes = dict(MOTION[name])
    embedding = {key: changes.pop(key) for key in ("crops", "flips") if key in changes}
    return variant(**changes, embedding={"num_segments": 5, **embedding})


def compare_fields(network: MotionNetworkVariant, feeds: Feeds, *, source: MotionSource) -> None:
    run_card({"motion_network": describe_motion_input(network, source=source)})
    motion = read_motion(Path("video.mp4"), video_id="v", source=source)
    segments = build_segments(motion, variant=network, num_segments=network.embedding.num_segments, rng=None)
    crops = crop_for_test(segments, variant=network, crops=network.embedding.crops, flips=network.embedding.flips)
    expected, found = decode_crops(crops).numpy(), feeds["motion_network"]["fields"]
    assert float(np.abs(expected).mean()) > 2 * STEP, "the fields do not move"
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) < 1.01 * STEP
    assert float(np.abs(found - expected).mean()) < 0.02 * STEP


@pytest.mark.parametrize("video", sorted(VIDEOS))
@pytest.mark.parametrize("name", sorted(MOTION))
def test_the_code_makes_the_fields_of_the_motion_network(name: str, video: str, tmp_path: Path, feeds: Feeds) -> None:
    encode(tmp_path / "video.mp4", render(24, warp=pan(4, -3)), **VIDEOS[video])
    compare_fields(network_of(name), feeds, source="original")


@pytest.mark.parametrize("name", ["keyframe", "squash"])
def test_the_code_transcodes_as_the_run_does(name: str, tmp_path: Path, feeds: Feeds) -> None:
    encode(tmp_path / "video.mp4", render(30, warp=pan(4, -3)), codec="h264", gop=50, max_b_frames=2)
    compare_fields(network_of(name), feeds, source="transcode")


def test_a_fit_of_the_camera_is_named_and_not_shown(feeds: Feeds) -> None:
    network = variant(field={"kind": "accumulated", "compensate_camera": True})
    graphs = {"motion_network": describe_motion_input(network, source="original"), "head_fusion": {"pooling": "mean"}}
    card = build_card(replace(card_facts(), graphs=graphs))
    assert "subtracts the motion of the camera" in card
    assert 'run("motion_network"' not in card
    assert 'run("head_fusion"' not in card


@pytest.mark.parametrize("resize_mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_code_makes_the_pictures_of_the_encoder(
    resize_mode: str, interpolation: str, repository: Path, tmp_path: Path, feeds: Feeds
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    source = repository / "resources/demo-clip"
    config = json.loads((source / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= {"resize_mode": resize_mode, "interpolation": interpolation, "mean": [0.4, 0.5, 0.6]}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_model.safetensors").symlink_to(source / "open_clip_model.safetensors")
    count = 1 if resize_mode == "squash" else 3
    frames = FrameSettings(policy="middle" if count == 1 else "uniform", count=count)
    encoder = load_encoder(AppearanceVariant(model=f"local-dir:{folder}", frames=frames))
    path = tmp_path / "video.mp4"
    encode(path, render(20, warp=pan(2, 1)), codec="h264", gop=8, max_b_frames=2)

    run_card({"image_encoder": describe_pictures(encoder), "head_appearance": {"pooling": "mean"}})

    decoded = read_frames(
        path,
        video_id="v",
        choose=lambda total: choose_frames(frames.policy, num_frames=total, num_selected=count, video_id="v").tolist(),
    )
    expected, found = encoder.prepare_images(decoded.images), feeds["image_encoder"]["pictures"]
    assert found.shape == expected.shape
    # One step of 8 bits, where Pillow rounds a half the other way.
    assert float(np.abs(found - expected).max()) < 1.01 * STEP / 0.25
    assert float(np.abs(found - expected).mean()) < 0.05 * STEP / 0.25
    assert feeds["head_appearance"]["appearance"].shape == (1, 2)
