"""Names of models, tags and files of weights are checked without importing open_clip or timm."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.numpy import save_file

from moclip.config.settings import AppearanceVariant
from moclip.core.names import find_nearest
from moclip.encoders.catalog import (
    check_backbone,
    check_encoder_names,
    list_open_clip_models,
    list_open_clip_tags,
)
from moclip.encoders.spec import check_weights_file
from moclip.errors import ModelError


def test_the_names_in_the_files_are_those_that_open_clip_knows() -> None:
    expected: dict[str, set[str]] = {}
    for model, tag in open_clip.list_pretrained():
        expected.setdefault(model, set()).add(tag)
    assert {model: set(tags) for model, tags in list_open_clip_tags().items()} == expected
    # Other tests may have added models of their own to the list of this process.
    assert set(list_open_clip_models()) <= set(open_clip.list_models())
    assert expected.keys() - {name for name in expected if name.endswith("quickgelu")} <= set(list_open_clip_models())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "ViT-B-23", "weights": "openai"}, "the nearest are ViT-B-32"),
        ({"model": "vit_b_16", "weights": "openai"}, "the nearest are ViT-B-16,"),
        ({"model": "ViT-B-16", "weights": "opnai"}, "no weights tagged `opnai`; the nearest are openai,"),
        ({"model": "RN50-quickgelu", "weights": "laion400m_e31"}, "no weights tagged `laion400m_e31`"),
        ({"model": "ViT-B-16", "weights": "x.pt", "preprocess": "laion400m"}, "expected a pretrained tag"),
    ],
)
def test_a_misspelled_model_or_tag_is_answered_with_the_nearest(changes: dict[str, str], expected: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_encoder_names(AppearanceVariant(**changes))
    assert expected in str(caught.value)


def test_every_model_of_timm_and_its_tags_are_accepted() -> None:
    for name in timm.list_models()[::40]:
        check_backbone(name, weights="none")
    for name in timm.list_pretrained()[::40]:
        model, _, tag = name.partition(".")
        check_backbone(model, weights=f"timm:{tag}")
        check_backbone(name, weights="none")


@pytest.mark.parametrize(
    ("name", "weights", "nearest"),
    [
        ("efficientnet_b00", "none", "efficientnet_b0,"),
        ("EfficientNet-B4", "none", "efficientnet_b4,"),
        ("resnet_50", "none", "resnet50,"),
        ("mobilenetv3_large_10", "none", "mobilenetv3_large_100"),
        ("efficientnet_b0", "timm:ra_in1", "ra_in1k"),
        ("resnet50", "timm:a1_in11k", "a1_in1k"),
    ],
)
def test_a_misspelled_backbone_or_tag_is_answered_with_the_nearest(name: str, weights: str, nearest: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_backbone(name, weights=weights)
    assert f"the nearest are {nearest}" in f"{caught.value},"


def test_the_catalog_imports_neither_package() -> None:
    code = (
        "import sys; from moclip.encoders.catalog import *; check_backbone('resnet18', weights='timm:a1_in1k'); "
        "list_open_clip_tags(); print({'timm', 'open_clip', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_nearest_name_ignores_case_and_separators_before_it_counts_letters() -> None:
    known = ["brushing_teeth", "BrushingHair", "Brush"]
    assert find_nearest("BrushingTeeth", known) == ["brushing_teeth"]
    assert find_nearest("x", []) == []
    assert find_nearest("Yes", ["yes", "YES", "Yes"]) == ["Yes"]


def write_weights(folder: Path, suffix: str) -> Path:
    path = folder / f"weights{suffix}"
    values = np.arange(4000, dtype=np.float32)
    save_file({"a": values, "b": values[:7]}, path) if suffix == ".safetensors" else torch.save(
        {"a": torch.from_numpy(values)}, path
    )
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_whole_file_of_weights_is_accepted_and_any_cut_one_refused(tmp_path: Path, suffix: str) -> None:
    path = write_weights(tmp_path, suffix)
    check_weights_file(path)
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 100, 8, 1, 0):
        path.write_bytes(content[:size])
        with pytest.raises(ModelError, match="expected the weights of a model, found"):
            check_weights_file(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605143884\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><head>", "a web page"),
        (b"<HTML><body>404", "a web page"),
        (b"", "an empty file"),
        (b"{" * 4000, "copy it again"),
    ],
)
def test_other_files_under_the_name_of_weights_are_named(
    tmp_path: Path, suffix: str, content: bytes, expected: str
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        check_weights_file(path)
    assert expected in str(caught.value)
    with pytest.raises(ModelError, match="no such file of weights"):
        check_weights_file(tmp_path / f"other{suffix}")
