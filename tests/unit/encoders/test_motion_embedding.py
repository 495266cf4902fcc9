"""Fusion and backends change no number, and a second extraction no byte."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from moclip.cache.index import load_table
from moclip.cache.tables import load_stream, load_views
from moclip.encoders.fusion import fuse_conv_bn
from moclip.encoders.motion_embedding import build_embed, embed_videos
from moclip.encoders.motion_input import build_segments, crop_for_test, decode_crops
from moclip.encoders.motion_network import MotionNetwork, build_network, save_network
from moclip.encoders.runtime import choose_device, prepare_torch
from moclip.errors import ModelError, ShardError
from moclip.extraction.extractor import Video
from moclip.extraction.motion_embedding import (
    build_motion_embedding_extractor,
    extract_motion_embedding_shard,
    index_motion_embedding,
)
from tests.unit.encoders.motion_networks import TEST, TRAIN, items, job_of, variant, write_dataset

VIEWS = {**TEST, "views": {"count": 3, "num_segments": 2}}


def lively(name: str) -> MotionNetwork:
    """A network whose norms do something."""
    torch.manual_seed(0)
    network = build_network(name, weights="none", num_classes=3, dropout=0.5).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return network


def example(count: int = 5, px: int = 64) -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.rand(count, 2, px, px) - 0.5).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "mobilenetv2_100", "resnet18", "mobilenetv3_small_050", "tf_efficientnet_b0"]
)
@torch.inference_mode()
def test_a_fused_network_computes_what_the_plain_one_does(name: str) -> None:
    plain = lively(name).backbone
    inputs = example()
    fused = copy.deepcopy(plain)
    fuse_conv_bn(fused, run=lambda: fused(inputs[:2]), tolerance=1e-4)
    expected = plain(inputs)
    torch.testing.assert_close(fused(inputs), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_a_convolution_whose_output_is_used_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.norm = nn.BatchNorm2d(2, eps=3.0)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            output = self.conv(inputs)
            return output + self.norm(output)

    network = Twice().eval()
    with pytest.raises(ModelError, match="conv-bn fusion: expected the model's own embeddings"):
        fuse_conv_bn(network, run=lambda: network(example(1, 8)), tolerance=1e-4)


@torch.inference_mode()
def test_an_embedding_is_the_mean_of_the_plain_network_over_segments_and_crops() -> None:
    network = lively("test_efficientnet")
    settings = variant(embedding={**TEST, "crops": 5, "flips": True})
    (item,) = items(3)
    fields = build_segments(item.motion, variant=settings, num_segments=3, rng=None)
    inputs = decode_crops(crop_for_test(fields, variant=settings, crops=5, flips=True))
    (found,) = embed_videos(network, [item], variant=settings)
    expected = network.embed(inputs)
    np.testing.assert_allclose(found.embedding, expected.mean(dim=0).numpy(), atol=1e-5)
    np.testing.assert_allclose(found.logits, network.classifier(expected).mean(dim=0).numpy(), atol=1e-5)


def test_larger_parts_as_on_a_gpu_give_the_same_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively("efficientnet_b0")
    codes = torch.randint(0, 256, (7, 2, 64, 64), dtype=torch.uint8)
    ours = build_embed(network, variant=variant(input_px=64))(codes)
    monkeypatch.setattr("moclip.encoders.motion_embedding._CROPS_AT_ONCE", {"cpu": 256})
    found = build_embed(network, variant=variant(input_px=64))(codes)
    torch.testing.assert_close(found, ours, rtol=1e-5, atol=1e-5 * float(ours.abs().max()))
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), "the network stays as it was"


def test_a_gpu_that_is_not_there_is_an_error_and_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert {choose_device(name, model="network") for name in ("auto", "cpu")} == {torch.device("cpu")}
    with pytest.raises(ModelError, match=r"torch finds no GPU; set `device: cpu` or `auto`"):
        build_embed(lively("test_efficientnet"), variant=variant(device="cuda"))


def test_bf16_points_where_fp32_does() -> None:
    network = lively("efficientnet_b0")
    codes = torch.randint(0, 256, (3, 2, 64, 64), dtype=torch.uint8)
    found = {
        precision: build_embed(network, variant=variant(input_px=64, embedding={**TEST, "precision": precision}))(codes)
        for precision in ("fp32", "bf16")
    }
    assert found["bf16"].dtype == torch.float32
    assert not torch.equal(found["fp32"], found["bf16"])
    assert float(torch.nn.functional.cosine_similarity(found["fp32"], found["bf16"]).min()) > 0.999


def test_openvino_computes_what_torch_does() -> None:
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    network = lively("efficientnet_b0")
    codes = torch.randint(0, 256, (7, 2, 64, 64), dtype=torch.uint8)
    found = {
        (backend, threads): build_embed(
            network, variant=variant(input_px=64, threads=threads, embedding={**TEST, "backend": backend})
        )(codes)
        for backend, threads in (("torch", 1), ("openvino", 1), ("openvino", 2))
    }
    expected = found["torch", 1]
    torch.testing.assert_close(
        found["openvino", 1], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()), check_stride=False
    )
    assert torch.equal(found["openvino", 1], found["openvino", 2])


def test_without_openvino_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ModelError, match="openvino"):
        build_embed(lively("test_efficientnet"), variant=variant(embedding={**TEST, "backend": "openvino"}))


def extract(folder: Path, *, dataset: Path, model: Path, **changes: Any) -> Path:
    settings = variant(**changes)
    index = dataset / "motion/index.json"
    extract_motion_embedding_shard(
        job_of(folder, cache=folder / "cache"), variant=settings, motion_index=index, model=model
    )
    index_motion_embedding(
        settings,
        manifest=dataset / "manifest.tsv",
        motion_index=index,
        model=model,
        jobs=[job_of(folder, cache=folder / "cache")],
        output=folder / "index.json",
    )
    return folder / "index.json"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    write_dataset(folder)
    about = {"train": [f"v{n}" for n in range(12)], "seed": 0}
    save_network(lively("test_efficientnet"), folder / "model", about=about)
    return folder


def test_a_second_extraction_gives_the_same_bytes(tmp_path: Path, dataset: Path) -> None:
    prepare_torch(threads=1)
    for name, loaders in (("one", 1), ("two", 3)):
        extract(tmp_path / name, dataset=dataset, model=dataset / "model", embedding=VIEWS, loaders=loaders)
    for file in ("shard-0.h5", "index.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_training_videos_have_views_and_others_have_their_embedding(tmp_path: Path, dataset: Path) -> None:
    index = extract(tmp_path, dataset=dataset, model=dataset / "model", embedding=VIEWS)
    views = load_views(index)
    assert {name: count for name, (_, count) in views.places.items() if name in ("v0", "v11", "v12", "v19")} == {
        "v0": 3,
        "v11": 3,
        "v12": 1,
        "v19": 1,
    }
    table = load_table(index, field="embedding")
    stream = load_stream(index)

    def draw(*video_ids: str, epoch: int) -> NDArray[np.float32]:
        return views.draw(stream, seed=0, epoch=epoch).select(video_ids)

    np.testing.assert_array_equal(draw("v19", epoch=1)[0], table.values[table.video_ids.index("v19")])
    drawn = [draw("v0", "v1", epoch=epoch) for epoch in range(20)]
    assert len({array[0].tobytes() for array in drawn}) == 3
    np.testing.assert_array_equal(drawn[7], draw("v0", "v1", epoch=7))
    np.testing.assert_array_equal(draw("v1", "v0", epoch=7), drawn[7][::-1])


def test_views_do_not_touch_the_embedding_and_follow_from_the_recipe(tmp_path: Path, dataset: Path) -> None:
    plain = extract(tmp_path / "plain", dataset=dataset, model=dataset / "model")
    with_views = extract(tmp_path / "views", dataset=dataset, model=dataset / "model", embedding=VIEWS)
    flipped = extract(
        tmp_path / "flipped", dataset=dataset, model=dataset / "model", embedding=VIEWS, train={**TRAIN, "flip": True}
    )
    embeddings = [load_table(index, field="embedding").values for index in (plain, with_views, flipped)]
    np.testing.assert_array_equal(embeddings[0], embeddings[1])
    np.testing.assert_array_equal(embeddings[0], embeddings[2])
    assert not np.array_equal(load_views(with_views).values, load_views(flipped).values)
    with pytest.raises(ShardError, match=r"views\.count"):
        load_views(plain)


def test_float16_embeddings_are_the_rounded_ones(tmp_path: Path, dataset: Path) -> None:
    whole = load_table(extract(tmp_path / "whole", dataset=dataset, model=dataset / "model"), field="embedding")
    half = extract(tmp_path / "half", dataset=dataset, model=dataset / "model", embedding={**TEST, "store": "float16"})
    table = load_table(half, field="embedding")
    np.testing.assert_array_equal(table.values, whole.values.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("test", [TEST, VIEWS])
def test_copies_of_a_video_on_both_sides_of_a_split_share_a_row_only_without_views(
    test: dict[str, Any], dataset: Path
) -> None:
    extractor = build_motion_embedding_extractor(variant(embedding=test), model=dataset / "model")
    in_train, in_test = (
        extractor.row_key(Video(video_id=name, path=Path("unused"), fingerprint="same")) for name in ("v0", "v19")
    )
    assert (in_train == in_test) is (test is TEST)


def test_a_model_that_names_no_training_videos_is_refused(tmp_path: Path) -> None:
    save_network(lively("test_efficientnet"), tmp_path / "model", about={"seed": 0})
    with pytest.raises(ModelError, match="names its training videos"):
        build_motion_embedding_extractor(variant(embedding=VIEWS), model=tmp_path / "model")
