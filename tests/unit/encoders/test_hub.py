"""Weights that cannot be fetched: which command fetches them elsewhere, and where they belong on this machine."""

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub.constants
import open_clip
import pytest

from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import AppearanceVariant
from moclip.encoders.clip import Encoder, load_encoder
from moclip.encoders.hub import explain_fetch, find_missing_package, is_unreachable
from moclip.errors import ModelError
from moclip.training import motion_files, motion_stage
from moclip.training.motion_stage import Training


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    return tmp_path / "hf/hub"


class LocalEntryNotFoundError(Exception):
    """As huggingface_hub raises it."""


def unreachable(*_: Any, **__: Any) -> Any:
    try:
        raise LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub")
    except LocalEntryNotFoundError as error:
        raise RuntimeError(f"Failed to download weights: {error}") from error


@pytest.mark.parametrize(
    ("model", "tag", "folder"),
    [
        ("ViT-B-32", "laion2b_s34b_b79k", "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("ViT-B-32-quickgelu", "openai", "models--timm--vit_base_patch32_clip_224.openai"),
        ("ViT-B-16-SigLIP", "webli", "models--timm--ViT-B-16-SigLIP"),
    ],
)
def test_a_tag_whose_hub_is_not_reached_is_told_with_command_and_place(
    model: str, tag: str, folder: str, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "create_model_and_transforms", unreachable)
    with pytest.raises(ModelError) as refused:
        load_encoder(AppearanceVariant(model=model, weights=tag, device="cpu"))
    line = str(refused.value)
    assert line.startswith(f"{model}: the weights `{tag}` are not on this machine, and the hub cannot be reached; ")
    assert f"""python -c "import open_clip; open_clip.create_model('{model}', pretrained='{tag}')\"""" in line
    assert f"copy ~/.cache/huggingface/hub/{folder} from there to {hub_cache / folder} on this machine" in line
    assert line.endswith("and run again")


def test_weights_of_a_motion_network_are_told_the_same_way(
    hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        try:
            unreachable()
        except RuntimeError as error:
            raise ModelError(f"mobilenetv2_100: cannot build it: {error}") from None

    monkeypatch.setattr(motion_files, "write_network", refuse)
    training = Training(key="k", labels=(), num_classes=2, seed=0, about={})  # type: ignore[arg-type]
    with pytest.raises(ModelError) as refused:
        motion_stage._train(
            training,
            outputs={"model.safetensors": tmp_path / "m", "history.tsv": tmp_path / "h"},
            motion_index=tmp_path / "index.json",
            variant=MotionNetworkVariant(motion="original", backbone="mobilenetv2_100", weights="timm:ra_in1k"),
            cache_dir=tmp_path,
        )
    assert "timm.create_model('mobilenetv2_100.ra_in1k', pretrained=True)" in str(refused.value)
    assert str(hub_cache / "models--timm--mobilenetv2_100.ra_in1k") in str(refused.value)


def encoder(model: str) -> Encoder:
    variant = AppearanceVariant(model=model, untrained=True, device="cpu")
    return Encoder(variant=variant, model=None, preprocess=lambda image: image, device=None, embedding_dim=4)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "ViT-B-16-SigLIP2"])
def test_a_tokenizer_without_its_package_is_told_what_to_install(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., ModuleType] = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> ModuleType:
        if name.split(".", maxsplit=1)[0] == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
        return find(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ModelError, match="needs the package `transformers`, which is not installed; run `python -m pip"
    ):
        _ = encoder(model).tokenizer


def test_a_tokenizer_whose_hub_is_not_reached_is_told_with_command_and_place(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "get_tokenizer", unreachable)
    with pytest.raises(ModelError) as refused:
        _ = encoder("ViT-B-16-SigLIP").tokenizer
    assert "open_clip.get_tokenizer('ViT-B-16-SigLIP')" in str(refused.value)
    assert str(hub_cache / "models--timm--ViT-B-16-SigLIP") in str(refused.value)


def test_other_errors_are_not_taken_for_a_hub_that_is_not_reached() -> None:
    error = ValueError("size mismatch")
    error.__cause__ = KeyError("visual")
    assert not is_unreachable(error)
    assert find_missing_package(error) == ""
    assert "~/.cache/clip from there to" in explain_fetch("the weights are", code="pass")
