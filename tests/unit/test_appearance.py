"""Embeddings are open_clip's own, and a model is never something else than what the configuration says."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from moclip.appearance import Encoder, build_class_embeddings, load_encoder
from moclip.encoder_spec import EncoderSpec, weights_fingerprint
from moclip.errors import ModelError
from moclip.zero_shot import zero_shot_logits

VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


def write_model(folder: Path, *, seed: int = 0, vision: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": {"embed_dim": 24, "vision_cfg": vision or {**VISION, "head_width": 16}, "text_cfg": TEXT},
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(EncoderSpec(model=f"local-dir:{folder}", weights=None))


def pictures(count: int, *, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (40 + 3 * i, 56, 3), dtype=np.uint8) for i in range(count)]


def test_embeddings_are_open_clips_own(folder: Path, encoder: Encoder) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    images = pictures(3)
    with torch.no_grad():
        expected = np.concatenate([model.encode_image(preprocess(Image.fromarray(x))[None]).numpy() for x in images])
    np.testing.assert_allclose(encoder.encode_images(images, batch_size=4), expected, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_pictures_beside_it(encoder: Encoder) -> None:
    images = pictures(7)
    together = encoder.encode_images(images, batch_size=4)
    alone = np.concatenate([encoder.encode_images([image], batch_size=4) for image in images])
    np.testing.assert_array_equal(together, alone)


def test_embeddings_are_not_normalised_and_differ_between_pictures(encoder: Encoder) -> None:
    embeddings = encoder.encode_images(pictures(2), batch_size=4)
    assert embeddings.dtype == np.float32
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() > 1e-3


def test_class_embeddings_equal_open_clips_zero_shot_classifier(folder: Path, encoder: Encoder) -> None:
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    templates = ["a photo of a {}", "a person doing {}", "{} in a room"]
    names = ["running", "sitting down"]
    expected = open_clip.build_zero_shot_classifier(
        model,
        tokenizer=open_clip.get_tokenizer(f"local-dir:{folder}"),
        classnames=names,
        templates=[lambda name, t=t: t.format(name) for t in templates],
    )
    found = build_class_embeddings(encoder, {name: [t.format(name) for t in templates] for name in names})
    np.testing.assert_allclose(found, expected.detach().numpy().T, atol=1e-6)


def test_zero_shot_logits_are_a_hundred_cosines() -> None:
    images = np.array([[3.0, 0.0], [1.0, 1.0]], np.float32)
    classes = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    np.testing.assert_allclose(zero_shot_logits(images, classes), [[100, 0], [70.710678, 70.710678]], rtol=1e-6)
    with pytest.raises(ModelError, match="one width"):
        zero_shot_logits(images, np.ones((2, 3), np.float32))
    with pytest.raises(ModelError, match="with a length"):
        zero_shot_logits(np.zeros((1, 2), np.float32), classes)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (EncoderSpec(model="ViT-B-32", weights=None), "say `untrained: true`"),
        (EncoderSpec(model="ViT-B-32", weights="openai", untrained=True), "exclude each other"),
        (EncoderSpec(model="ViT-B-23", weights="openai"), "the nearest are ViT-B-32"),
        (EncoderSpec(model="ViT-B-32-quickgelu", weights="opnai"), "the nearest are openai"),
        (EncoderSpec(model="local-dir:nowhere", weights=None), "nowhere: expected a folder with open_clip_config"),
        (EncoderSpec(model="ViT-B-32", weights="no/such.safetensors"), "no such checkpoint file"),
    ],
)
def test_a_wrong_model_is_named_before_anything_is_fetched(spec: EncoderSpec, expected: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_encoder(spec)
    assert expected in str(caught.value)


def test_a_folder_without_weights_is_untrained_and_must_say_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="untrained: true"):
        load_encoder(EncoderSpec(model=f"local-dir:{folder}", weights=None))
    images = pictures(1)
    spec = EncoderSpec(model=f"local-dir:{folder}", weights=None, untrained=True)
    np.testing.assert_array_equal(
        load_encoder(spec).encode_images(images, batch_size=4), load_encoder(spec).encode_images(images, batch_size=4)
    )


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    save_file({"visual.proj": torch.zeros(3, 3)}, folder / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="cannot load"):
        load_encoder(EncoderSpec(model=f"local-dir:{folder}", weights=None))


def test_openai_weights_as_a_file_need_a_quickgelu_model(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.openai.safetensors"
    path.write_bytes(b"weights")
    with pytest.raises(ModelError, match="set `model: ViT-B-32-quickgelu`"):
        load_encoder(EncoderSpec(model="ViT-B-32", weights=str(path)))


def test_the_fingerprint_follows_the_bytes_of_the_weights_and_not_their_place(tmp_path: Path) -> None:
    one = EncoderSpec(model=f"local-dir:{write_model(tmp_path / 'a')}", weights=None)
    same = EncoderSpec(model=f"local-dir:{write_model(tmp_path / 'b')}", weights=None)
    other = EncoderSpec(model=f"local-dir:{write_model(tmp_path / 'c', seed=1)}", weights=None)
    assert weights_fingerprint(one) == weights_fingerprint(same) != weights_fingerprint(other)


@pytest.mark.shared
def test_a_real_encoder_separates_real_pictures(shared_dir: Path) -> None:
    spec = EncoderSpec(model=f"local-dir:{shared_dir / 'weights/mobilenetv2-imagenet'}", weights=None)
    embeddings = load_encoder(spec).encode_images(pictures(2), batch_size=4)
    assert embeddings.shape == (2, 1280)
    assert np.isfinite(embeddings).all()
