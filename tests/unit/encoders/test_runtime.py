"""Every backend computes what open_clip computes, and says so when it does not."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moclip.encoders.clip import Encoder, load_encoder
from moclip.encoders.fusion import fuse_conv_bn
from moclip.errors import ModelError
from tests.unit.encoders.test_clip import FAMILIES, local, open_clip_embeddings, pictures, write_model

BACKENDS = ("torch", "eager", "openvino")
NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs openvino: run `make openvino`"
)
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
OPENVINO = pytest.param("openvino", marks=NEEDS_OPENVINO)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_model(tmp_path_factory.mktemp(family), family=family) for family in FAMILIES}


def lively(encoder: Encoder) -> Encoder:
    """Batch norms that do something, as trained ones do."""
    generator = torch.Generator().manual_seed(3)
    for module in encoder.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data.uniform_(0.5, 2, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data.uniform_(-1, 1, generator=generator)
    return encoder


def kinds(encoder: Encoder) -> list[type]:
    return [type(module) for module in encoder.model.visual.modules()]


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


@pytest.mark.parametrize("backend", ["torch", OPENVINO])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_backend_computes_the_embeddings_of_open_clip_to_one_in_a_hundred_thousand(
    folders: dict[str, Path], family: str, backend: Any
) -> None:
    images = pictures(5)
    expected = lively(load_encoder(local(folders[family], backend="eager"))).encode_images(images, batch_size=4)
    found = lively(load_encoder(local(folders[family], backend=backend))).encode_images(images, batch_size=4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_eager_backend_is_open_clip_bit_for_bit(folders: dict[str, Path], family: str) -> None:
    images = pictures(2)
    found = load_encoder(local(folders[family], backend="eager")).encode_images(images, batch_size=1)
    expected = open_clip_embeddings(folders[family], images)
    if family in ("vit", "vit-quickgelu"):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # convolutions are laid out otherwise


@pytest.mark.parametrize("backend", ["torch", OPENVINO])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_backend_keeps_a_row_free_of_its_neighbours(folders: dict[str, Path], family: str, backend: Any) -> None:
    encoder, images = load_encoder(local(folders[family], backend=backend)), pictures(5)
    together = encoder.encode_images(images, batch_size=4)
    alone = np.concatenate([encoder.encode_images([image], batch_size=4) for image in images])
    np.testing.assert_array_equal(together, alone)
    again = load_encoder(local(folders[family], backend=backend)).encode_images(images, batch_size=4)
    np.testing.assert_array_equal(together, again)


@pytest.mark.parametrize("backend", ["torch", OPENVINO])
@pytest.mark.parametrize("family", ["vit", "resnet", "siglip"])
def test_bf16_keeps_the_direction_on_every_backend(folders: dict[str, Path], family: str, backend: Any) -> None:
    images = pictures(2)
    exact = load_encoder(local(folders[family], backend="eager")).encode_images(images, batch_size=2)
    close = load_encoder(local(folders[family], backend=backend, precision="bf16")).encode_images(images, batch_size=2)
    assert cosines(exact, close).min() > 0.999


@pytest.mark.parametrize("family", ["resnet", "timm"])
def test_every_batch_norm_of_a_tower_is_folded(folders: dict[str, Path], family: str) -> None:
    encoder = load_encoder(local(folders[family]))
    assert any(issubclass(kind, nn.BatchNorm2d) for kind in kinds(encoder))
    encoder.encode_images(pictures(1), batch_size=1)
    assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds(encoder))


def test_the_text_tower_stays_as_it_is(folders: dict[str, Path]) -> None:
    encoder = load_encoder(local(folders["vit"]))
    before = encoder.encode_texts(["a dog"])
    encoder.encode_images(pictures(1), batch_size=1)
    np.testing.assert_array_equal(encoder.encode_texts(["a dog"]), before)


class Branching(nn.Module):
    """A convolution whose output two layers read, and one that is called twice: neither may be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.twice, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return torch.as_tensor(self.twice(self.other(self.twice(x))))


def test_a_layer_that_is_called_twice_is_not_folded() -> None:
    torch.manual_seed(0)
    tower = Branching().eval()
    tower.norm.running_mean.fill_(0.5)  # type: ignore[union-attr]
    tower.other.running_mean.fill_(0.5)  # type: ignore[union-attr]
    x = torch.randn(1, 3, 4, 4)
    with torch.inference_mode():
        expected = tower(x)
        fuse_conv_bn(tower, run=lambda: tower(x), tolerance=1e-4)
        np.testing.assert_allclose(tower(x), expected, rtol=1e-5, atol=1e-6)
    assert isinstance(tower.norm, nn.Identity)
    assert isinstance(tower.other, nn.BatchNorm2d)


def test_a_backend_that_computes_something_else_is_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moclip.encoders.fusion.fuse_conv_bn_eval", lambda conv, norm: conv)
    with pytest.raises(ModelError, match=r"expected the model's own embeddings to 0.0001 .* set `backend: eager`"):
        lively(load_encoder(local(folders["resnet"]))).encode_images(pictures(1))


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="needs openvino to be absent")
def test_openvino_that_is_not_installed_is_named_with_the_way_out(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="openvino is not installed; run `make openvino`"):
        load_encoder(local(folders["vit"], backend="openvino")).encode_images(pictures(1))


def test_openvino_is_for_a_processor(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="`backend: openvino` needs `device: cpu`, found `auto`"):
        load_encoder(local(folders["vit"], backend="openvino", device="auto"))


@NEEDS_GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_agrees_with_the_processor(folders: dict[str, Path], family: str, precision: Any) -> None:
    images = pictures(5)
    expected = load_encoder(local(folders[family], backend="eager")).encode_images(images, batch_size=4)
    encoder = load_encoder(local(folders[family], device="cuda", precision=precision))
    found = encoder.encode_images(images, batch_size=4)
    assert cosines(found, expected).min() > 1 - 1e-3
    np.testing.assert_array_equal(encoder.encode_images(images, batch_size=4), found)
