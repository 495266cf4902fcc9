"""Embeddings are open_clip's own, and a model is never something else than what the configuration says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from moclip.config.settings import AppearanceVariant
from moclip.encoders.clip import Encoder, build_class_embeddings, choose_preprocess, load_encoder
from moclip.encoders.spec import CONFIG_NAME, check_encoder, tokenizer_fingerprint, weights_fingerprint
from moclip.encoders.zero_shot import zero_shot_logits
from moclip.errors import ModelError

WEIGHTS = "open_clip_model.safetensors"
VIT = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
TINY: dict[str, Any] = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}
# One of each family of image towers, with the preprocessing that goes with it.
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vit": (TINY, {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}),
    "vit-quickgelu": ({**TINY, "quick_gelu": True}, {"resize_mode": "longest", "interpolation": "bilinear"}),
    "resnet": (
        {**TINY, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64}},
        {"resize_mode": "shortest"},
    ),
    "timm": (
        {
            **TINY,
            "vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "image_size": 64},
        },
        {"interpolation": "bilinear"},
    ),
    "siglip": (
        {
            "embed_dim": 96,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "timm_model_name": "test_vit3",
                "timm_pool": "map",
                "timm_proj": "none",
                "image_size": 160,
            },
            "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        },
        {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    ),
}


def write_model(folder: Path, *, seed: int = 0, family: str = "vit") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model_cfg, preprocess_cfg = FAMILIES[family]
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(model.state_dict(), folder / WEIGHTS)
    return folder


def local(folder: Path, **options: Any) -> AppearanceVariant:
    return AppearanceVariant(model=f"local-dir:{folder}", **options)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model loses by sharing its work out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_model(tmp_path_factory.mktemp(family), family=family) for family in FAMILIES}


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path]) -> Path:
    return folders["vit"]


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, Encoder]:
    return {family: load_encoder(local(folder)) for family, folder in folders.items()}


@pytest.fixture(scope="module")
def encoder(encoders: dict[str, Encoder]) -> Encoder:
    return encoders["vit"]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiny models with names of their own, like `ViT-B-32` and its QuickGELU twin."""
    for name, quick_gelu in (("Tiny", False), ("Tiny-quickgelu", True)):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, {**TINY, "quick_gelu": quick_gelu})
        tags: dict[str, Any] = {
            "openai": {"hf_hub": "nowhere/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
        }
        if not quick_gelu:
            tags["laion2b"] = {"hf_hub": "nowhere/"}
        else:
            tags["unmarked"] = {"hf_hub": "nowhere/"}  # as `laion2b_s12b_b32k` of `roberta-ViT-B-32`
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, tags)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Downloads that end in a file made here; the list says what was asked for."""
    asked: list[str] = []

    def download(config: dict[str, Any], **_: Any) -> str:
        asked.append(config["hf_hub"])
        return str(folder / WEIGHTS)

    monkeypatch.setattr(open_clip.factory, "download_pretrained", download)
    return asked


def open_clip_embeddings(folder: Path, images: list[np.ndarray]) -> np.ndarray:
    """What open_clip itself makes of the pictures, one by one."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        return np.concatenate([model.encode_image(preprocess(Image.fromarray(x))[None]).numpy() for x in images])


def pictures(count: int, *, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (40 + 3 * i, 56, 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_open_clips_own_whatever_the_family(
    folders: dict[str, Path], encoders: dict[str, Encoder], family: str
) -> None:
    images = pictures(3)
    expected = open_clip_embeddings(folders[family], images)
    found = encoders[family].encode_images(images, batch_size=2)
    assert found.shape == (3, encoders[family].embedding_dim)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_embedding_does_not_depend_on_the_pictures_beside_it(encoders: dict[str, Encoder], family: str) -> None:
    encoder, images = encoders[family], pictures(5)
    together = encoder.encode_images(images, batch_size=4)
    alone = np.concatenate([encoder.encode_images([image], batch_size=4) for image in images])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(encoder.encode_images(images[::-1], batch_size=4)[::-1], together)
    np.testing.assert_allclose(encoder.encode_images(images, batch_size=1), together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_keeps_the_direction_of_an_embedding(
    folders: dict[str, Path], encoders: dict[str, Encoder], family: str
) -> None:
    images = pictures(2)
    exact = encoders[family].encode_images(images, batch_size=2)
    close = load_encoder(local(folders[family], precision="bf16")).encode_images(images, batch_size=2)
    assert close.dtype == np.float32
    assert not np.array_equal(close, exact)
    cosines = (exact * close).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(close, axis=1)
    assert cosines.min() > 0.999


def test_embeddings_are_not_normalised_and_differ_between_pictures(encoder: Encoder) -> None:
    embeddings = encoder.encode_images(pictures(2))
    assert embeddings.dtype == np.float32
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() > 1e-3


def test_no_pictures_give_no_rows_and_odd_pictures_are_refused(encoder: Encoder) -> None:
    assert encoder.encode_images([]).shape == (0, 24)
    for odd in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)):
        with pytest.raises(ModelError, match=r"uint8 \(H, W, 3\)"):
            encoder.encode_images([odd])  # type: ignore[list-item]


def test_a_loaded_model_is_frozen_and_says_what_it_is(encoder: Encoder) -> None:
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    about = encoder.provenance
    assert about["weights"] == weights_fingerprint(encoder.variant)
    assert (about["device"], about["precision"], about["trained"]) == ("cpu", "fp32", True)
    assert about["open_clip"] == open_clip.__version__


def test_a_config_that_names_another_width_is_an_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", family="siglip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="expected embeddings of 64 values, found 96"):
        load_encoder(local(folder, untrained=True)).encode_images(pictures(1), batch_size=1)


def test_an_embedding_that_is_not_finite_is_an_error(folder: Path, tmp_path: Path) -> None:
    broken = write_model(tmp_path / "m")
    tensors = load_file(folder / WEIGHTS)
    tensors["visual.proj"][:] = torch.nan
    save_file(tensors, broken / WEIGHTS)
    with pytest.raises(ModelError, match="not finite at precision fp32"):
        load_encoder(local(broken)).encode_images(pictures(1))


def test_loading_leaves_the_callers_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_encoder(local(folder))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("family", ["vit", "siglip"])
def test_class_embeddings_equal_open_clips_zero_shot_classifier(
    folders: dict[str, Path], encoders: dict[str, Encoder], family: str
) -> None:
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folders[family]}")
    model.eval()
    templates = ["a photo of a {}", "a person doing {}", "{} in a room"]
    names = [f"action {number}" for number in range(7)]
    expected = open_clip.build_zero_shot_classifier(
        model,
        tokenizer=open_clip.get_tokenizer(f"local-dir:{folders[family]}"),
        classnames=names,
        templates=[lambda name, t=t: t.format(name) for t in templates],
    )
    prompts = {name: [t.format(name) for t in templates] for name in names}
    found = build_class_embeddings(encoders[family], prompts)
    np.testing.assert_allclose(found, expected.detach().numpy().T, atol=1e-6)


def test_every_prompt_counts_the_same_within_its_class_however_many_another_class_has(encoder: Encoder) -> None:
    few, many = ["a dog"], ["a cat", "one cat", "cats", "a small cat"]
    found = build_class_embeddings(encoder, {"dog": few, "cat": many})
    for row, sentences in zip(found, (few, many), strict=True):
        units = [e / np.linalg.norm(e) for e in encoder.encode_texts(sentences)]
        mean = np.mean(units, axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)
    with pytest.raises(ModelError, match="class cow: expected at least one prompt"):
        build_class_embeddings(encoder, {"dog": few, "cow": []})


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
        (AppearanceVariant(model="ViT-B-32"), "say `untrained: true`"),
        (AppearanceVariant(model="ViT-B-32", weights="openai", untrained=True), "exclude each other"),
        (AppearanceVariant(model="ViT-B-23", weights="openai"), "the nearest are ViT-B-32"),
        (AppearanceVariant(model="hf-hub:laion/CLIP-ViT-B-32", weights="x"), "a model of your own is `local-dir:PATH`"),
        (AppearanceVariant(model="ViT-B-32-quickgelu", weights="opnai"), "the nearest are openai"),
        (AppearanceVariant(model="local-dir:nowhere"), "nowhere: expected a folder with open_clip_config"),
        (AppearanceVariant(model="local-dir:nowhere", weights="openai"), "brings its own weights"),
        (AppearanceVariant(model="ViT-B-32", weights="no/such.safetensors"), "no such checkpoint file"),
        (AppearanceVariant(model="ViT-B-32", weights=__file__), "expected a checkpoint named .safetensors"),
        (AppearanceVariant(model="ViT-B-32", weights="laion2b_e16", precision="fp16"), "fp16 needs a GPU"),
    ],
)
def test_a_wrong_model_is_named_before_anything_is_fetched(
    hub: list[str], spec: AppearanceVariant, expected: str
) -> None:
    with pytest.raises(ModelError) as caught:
        load_encoder(spec)
    assert expected in str(caught.value)
    assert not hub


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_an_error_and_never_a_silent_cpu(folder: Path) -> None:
    with pytest.raises(ModelError, match="torch finds no GPU"):
        load_encoder(local(folder, device="cuda"))
    with pytest.raises(ModelError, match="fp16 needs a GPU"):
        load_encoder(local(folder, device="auto", precision="fp16"))
    assert load_encoder(local(folder, device="auto")).device.type == "cpu"


def test_a_folder_without_weights_is_untrained_and_must_say_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    with pytest.raises(ModelError, match=f"the folder holds {WEIGHTS}"):
        load_encoder(local(folder, untrained=True))
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="untrained: true"):
        load_encoder(local(folder))
    images = pictures(1)
    one, two = load_encoder(local(folder, untrained=True)), load_encoder(local(folder, untrained=True))
    np.testing.assert_array_equal(one.encode_images(images), two.encode_images(images))
    assert one.provenance["trained"] is False


@pytest.mark.parametrize("change", ["missing", "strange", "resized"])
def test_weights_that_do_not_fill_the_model_exactly_are_refused(tmp_path: Path, folder: Path, change: str) -> None:
    other = write_model(tmp_path / "m")
    tensors = load_file(folder / WEIGHTS)
    if change == "missing":
        del tensors["visual.ln_post.bias"]
    elif change == "strange":
        tensors["visual.extra"] = torch.zeros(3)
    else:  # of a model for pictures of 16 px; open_clip would stretch it
        tensors["visual.positional_embedding"] = torch.zeros(1 + 2 * 2, 32)
    save_file(tensors, other / WEIGHTS)
    with pytest.raises(
        ModelError, match=r"cannot load.*Error|visual.positional_embedding has 160 values, expected 544"
    ):
        load_encoder(local(other))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
def test_a_name_and_a_checkpoint_file_make_the_model_of_that_file(tmp_path: Path, folder: Path, suffix: str) -> None:
    path, tensors = tmp_path / f"weights{suffix}", load_file(folder / WEIGHTS)
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)
    model, _, preprocess = open_clip.create_model_and_transforms("Tiny", pretrained=str(path))
    model.eval()
    image = pictures(1)[0]
    with torch.no_grad():
        expected = model.encode_image(preprocess(Image.fromarray(image))[None]).numpy()
    variant = AppearanceVariant(model="Tiny", weights=str(path), preprocess="laion2b")
    found = load_encoder(variant).encode_images([image])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


class Spy:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("kind", ["pickled code", "TorchScript", "no checkpoint"])
def test_a_file_that_is_more_than_tensors_is_never_run(tmp_path: Path, kind: str) -> None:
    path, trace = tmp_path / "weights.pt", tmp_path / "was_here"
    if kind == "pickled code":
        torch.save({"state_dict": Spy(trace)}, path)
    elif kind == "TorchScript":
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    else:
        path = tmp_path / "weights.safetensors"
        path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="more than tensors" if path.suffix == ".pt" else "cannot load"):
        load_encoder(AppearanceVariant(model="Tiny", weights=str(path), preprocess="laion2b"))
    assert not trace.exists()


@pytest.mark.usefixtures("registered")
def test_open_clip_itself_computes_gelu_for_quickgelu_weights(hub: list[str]) -> None:
    # Why a mismatch is an error here: open_clip 3.3.0 warns of a tag, and goes on.
    with pytest.warns(UserWarning, match="QuickGELU mismatch"):
        model = open_clip.create_model("Tiny", pretrained="openai")
    assert isinstance(model.visual.transformer.resblocks[0].mlp.gelu, torch.nn.GELU)
    assert hub


@pytest.mark.usefixtures("registered")
def test_a_quickgelu_tag_under_a_gelu_name_is_refused_before_it_is_fetched(hub: list[str]) -> None:
    with pytest.raises(ModelError, match="expect QuickGELU, and `Tiny` has GELU; set `model: Tiny-quickgelu`"):
        load_encoder(AppearanceVariant(model="Tiny", weights="openai"))
    with pytest.raises(ModelError, match="set `model: ViT-B-32-quickgelu`"):
        load_encoder(AppearanceVariant(model="ViT-B-32", weights="openai"))
    assert not hub


@pytest.mark.usefixtures("registered", "hub")
def test_a_model_that_always_had_quickgelu_takes_weights_that_do_not_say_so() -> None:
    model = load_encoder(AppearanceVariant(model="Tiny-quickgelu", weights="unmarked")).model
    assert not isinstance(model.visual.transformer.resblocks[0].mlp.gelu, torch.nn.GELU)


@pytest.mark.usefixtures("registered")
def test_a_tag_brings_its_own_preprocessing(hub: list[str]) -> None:
    encoder = load_encoder(AppearanceVariant(model="Tiny-quickgelu", weights="openai"))
    assert hub == ["nowhere/"]
    black = encoder.preprocess(Image.new("RGB", (40, 40)))
    np.testing.assert_allclose(black.mean((1, 2)).numpy(), [-0.1, -0.2, -0.3], rtol=1e-5)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "model", "better"),
    [
        ("ViT-B-32.openai.safetensors", "ViT-B-32", "ViT-B-32-quickgelu"),
        ("vit_b_16-MetaCLIP-400m.pt", "ViT-B-16", "ViT-B-16-quickgelu"),
        ("models--timm--vit_base_patch32_clip_224.openai/0/open_clip_model.safetensors", "ViT-B-32", "ViT-B-32-quick"),
        ("my-own-quickgelu-epoch-3.pt", "Tiny", "Tiny-quickgelu"),
        ("vit_b_32-laion2b_e16-af8dbd0c.pth", "ViT-B-32-quickgelu", "ViT-B-32`"),
        ("laion2b.pt", "Tiny-quickgelu", "Tiny`"),
        ("ViT-L-14-dfn2b_s39b.bin", "ViT-L-14-quickgelu", "ViT-L-14`"),  # `dfn2b` is QuickGELU
    ],
)
def test_a_file_named_after_another_activation_is_refused(tmp_path: Path, name: str, model: str, better: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    with pytest.raises(ModelError, match=f"set `model: {better}"):
        load_encoder(AppearanceVariant(model=model, weights=str(path)))


@pytest.mark.usefixtures("registered")
def test_the_config_beside_a_checkpoint_tells_its_activation(folders: dict[str, Path]) -> None:
    gelu, quick_gelu = (str(folders[family] / WEIGHTS) for family in ("vit", "vit-quickgelu"))
    load_encoder(AppearanceVariant(model="Tiny", weights=gelu))
    load_encoder(AppearanceVariant(model="Tiny-quickgelu", weights=quick_gelu))
    with pytest.raises(ModelError, match="expect QuickGELU, and `Tiny` has GELU"):
        load_encoder(AppearanceVariant(model="Tiny", weights=quick_gelu))
    with pytest.raises(ModelError, match="expect GELU, and `Tiny-quickgelu` has QuickGELU; set `model: Tiny`"):
        load_encoder(AppearanceVariant(model="Tiny-quickgelu", weights=gelu))


def test_the_fingerprint_follows_the_bytes_of_the_weights_and_not_their_place(tmp_path: Path) -> None:
    one, same = local(write_model(tmp_path / "a")), local(write_model(tmp_path / "b"))
    other = local(write_model(tmp_path / "c", seed=1))
    assert weights_fingerprint(one) == weights_fingerprint(same) != weights_fingerprint(other)
    files = [AppearanceVariant(model="ViT-B-32", weights=str(tmp_path / name / WEIGHTS)) for name in "abc"]
    assert weights_fingerprint(files[0]) == weights_fingerprint(files[1]) != weights_fingerprint(files[2])
    assert weights_fingerprint(files[0]) != weights_fingerprint(one)


def test_no_two_kinds_of_weights_share_a_fingerprint(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", family="vit-quickgelu")
    found = [weights_fingerprint(local(folder))]
    (folder / WEIGHTS).unlink()
    found.append(weights_fingerprint(local(folder, untrained=True)))
    for model, weights in (("ViT-B-32", "openai"), ("ViT-B-32", "laion2b_e16"), ("ViT-B-16", "openai")):
        found.append(weights_fingerprint(AppearanceVariant(model=model, weights=weights)))
    found.append(weights_fingerprint(AppearanceVariant(model="ViT-B-32", untrained=True)))
    assert len(set(found)) == len(found)


def test_the_file_that_is_fingerprinted_is_the_file_that_is_loaded(tmp_path: Path, encoder: Encoder) -> None:
    folder = write_model(tmp_path / "m")
    preferred, other = folder / "open_clip_pytorch_model.safetensors", folder / "open_clip_pytorch_model.bin"
    (folder / WEIGHTS).rename(preferred)
    torch.save(load_file(write_model(tmp_path / "n", seed=1) / WEIGHTS), other)
    assert weights_fingerprint(local(folder)) == weights_fingerprint(encoder.variant)
    np.testing.assert_array_equal(
        load_encoder(local(folder)).encode_images(pictures(1)), encoder.encode_images(pictures(1))
    )


def test_a_fingerprint_costs_no_import_of_torch(folder: Path) -> None:
    code = (
        "import sys; from moclip.config.settings import AppearanceVariant; "
        "from moclip.encoders.spec import weights_fingerprint; "
        "weights_fingerprint(AppearanceVariant(model=sys.argv[1])); "
        "sys.exit(bool({'torch', 'open_clip', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, f"local-dir:{folder}"], check=True, timeout=60)


def test_a_tokenizer_that_cannot_be_made_stops_sentences_and_not_pictures(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "nowhere/at-all"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    encoder = load_encoder(local(folder))
    assert encoder.encode_images(pictures(1)).shape == (1, 24)
    with pytest.raises(ModelError, match="its tokenizer"):
        encoder.encode_texts(["a dog"])


@pytest.mark.shared
def test_a_real_encoder_puts_frames_of_one_video_together(shared_dir: Path) -> None:
    from moclip.video.frames import read_frames  # noqa: PLC0415

    folder = shared_dir / "weights/mobilenetv2-imagenet"
    encoder = load_encoder(local(folder))
    paths = [sorted(part.glob("*.avi"))[0] for part in sorted((shared_dir / "data/ucf101_5/videos").iterdir())][:3]
    frames = [read_frames(path, video_id=path.stem, choose=lambda count: [0, count - 1]).images for path in paths]
    images = [image for pair in frames for image in pair]
    found = encoder.encode_images(images, batch_size=6)
    assert found.shape == (6, 1280)
    np.testing.assert_allclose(found, open_clip_embeddings(folder, images), rtol=1e-5, atol=2e-5)  # values reach 5
    cosines = zero_shot_logits(found, found) - 200 * np.eye(6, dtype=np.float32)
    assert cosines.argmax(1).tolist() == [1, 0, 3, 2, 5, 4]


def test_only_what_is_loaded_from_a_folder_counts(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    before = weights_fingerprint(local(folder)), tokenizer_fingerprint(local(folder))
    config = folder / CONFIG_NAME
    config.write_text(json.dumps(dict(reversed(json.loads(config.read_text()).items())), indent=7))
    for name in ("README.md", "open_clip_pytorch_model.bin", "tokenizer.json"):
        (folder / name).write_text("a note")
    moved = folder.rename(tmp_path / "elsewhere")
    assert (weights_fingerprint(local(moved)), tokenizer_fingerprint(local(moved))) == before
    document = json.loads((moved / CONFIG_NAME).read_text())
    document["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "t"
    (moved / CONFIG_NAME).write_text(json.dumps(document))
    assert weights_fingerprint(local(moved)) != before[0]
    assert [name for name, _ in tokenizer_fingerprint(local(moved))] == ["tokenizer.json"]


# --- pictures for weights in a file


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "model.safetensors"
    path.parent.mkdir()
    path.touch()
    return path


def forms_of(model: str) -> dict[str, tuple[Any, ...]]:
    """What each tag of a model expects, as open_clip's own table has it."""
    forms = {}
    for tag in open_clip.list_pretrained_tags_by_model(model):
        about = open_clip.get_pretrained_cfg(model, tag)
        mean = about.get("mean") or open_clip.OPENAI_DATASET_MEAN
        std = about.get("std") or open_clip.OPENAI_DATASET_STD
        forms[tag] = (
            tuple(mean),
            tuple(std),
            about.get("interpolation", "bicubic"),
            about.get("resize_mode", "shortest"),
        )
    return forms


def form_of(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(found["mean"]), tuple(found["std"]), found["interpolation"], found["resize_mode"]


def test_a_file_gets_the_pictures_of_its_model_or_asks_which(weights_file: Path) -> None:
    models = [model for model in open_clip.list_models() if open_clip.list_pretrained_tags_by_model(model)]
    num_asked = 0
    for model in models:
        forms = forms_of(model)
        variant = AppearanceVariant(model=model, weights=str(weights_file))
        if len(set(forms.values())) == 1:
            assert form_of(choose_preprocess(variant)) == next(iter(forms.values()))
            continue
        num_asked += 1
        with pytest.raises(ModelError, match=r"expected `preprocess`, a tag of .* since its tags differ"):
            choose_preprocess(variant)
        for tag, form in forms.items():
            assert form_of(choose_preprocess(variant.model_copy(update={"preprocess": tag}))) == form
    assert len(models) > 80
    assert num_asked > 0


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_the_config_in_the_folder_of_a_file_is_followed_and_part_of_the_key(weights_file: Path, mode: str) -> None:
    variant = AppearanceVariant(model="ViT-L-14", weights=str(weights_file))
    plain = weights_fingerprint(variant)
    given = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear", "resize_mode": mode}
    config = weights_file.with_name("open_clip_config.json")
    config.write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": {**given, "size": [224, 224]}}))
    assert choose_preprocess(variant) == given
    assert weights_fingerprint(variant) != plain
    config.write_text("[")
    with pytest.raises(ModelError, match="expected the config of an open_clip model"):
        weights_fingerprint(variant)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preprocess": "laion2b"}, r"expected a pretrained tag, found `laion2b`; the nearest are .*laion2b_s32b_b82k"),
        ({"preprocess": "openai", "weights": "openai"}, "is for weights in a file"),
    ],
)
def test_a_wrong_choice_of_pictures_is_refused(weights_file: Path, changes: dict[str, str], words: str) -> None:
    variant = AppearanceVariant(**{"model": "ViT-L-14", "weights": str(weights_file), **changes})
    check = check_encoder if "weights" in changes else choose_preprocess
    with pytest.raises(ModelError, match=words):
        check(variant)
