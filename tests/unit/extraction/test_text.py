"""Class embeddings depend on the prompts as parsed and on the encoder, not on names, places or layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.config.settings import AppearanceVariant, TextVariant
from moclip.extraction import text as module
from moclip.extraction.text import digest_class_embeddings, read_class_embeddings, write_class_embeddings


class World:
    """A manifest, prompts and an encoder in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.encoder = folder / "encoder"
        self.encoder.mkdir()
        (self.encoder / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 4, "text_cfg": {}}}')
        (self.encoder / "open_clip_model.safetensors").write_bytes(b"weights")
        self.templates, self.phrases = folder / "templates.yaml", folder / "phrases.yaml"
        self.templates.write_text("templates: ['a video of {}', '{}']\n")
        self.phrases.write_text("Run: [running]\nJump: [jumping, leaping]\n")
        self.write_manifest("Run", "Jump")

    def write_manifest(self, *class_names: str) -> None:
        columns = ["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"]
        rows = [[f"v{n}", f"v{n}.avi", name, str(n), "", "0", "0", "train"] for n, name in enumerate(class_names)]
        text = "".join("\t".join(row) + "\n" for row in [columns, *rows])
        (self.folder / "manifest.tsv").write_text(text)

    def write(self, **changes: Any) -> str:
        output = self.folder / "out.safetensors"
        write_class_embeddings(
            output,
            manifest=self.folder / "manifest.tsv",
            variant=TextVariant(appearance="clip", templates=str(self.templates), phrases=str(self.phrases)),
            appearance=AppearanceVariant(model=f"local-dir:{self.encoder}", **changes),
            cache_dir=self.folder / "cache",
        )
        return digest_class_embeddings(output)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> World:
    def embed(variant: AppearanceVariant, *, prompts: dict[str, tuple[str, ...]]) -> Any:
        text = json.dumps([variant.precision, list(prompts.values())])
        return np.random.default_rng(list(text.encode())).normal(size=(len(prompts), 4)).astype(np.float32)

    monkeypatch.setattr(module, "_embed", embed)
    caplog.set_level("INFO")
    return World(tmp_path)


def test_names_places_and_layout_compute_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    digest, fresh = world.write(), (world.folder / "out.safetensors").read_bytes()
    world.templates.write_bytes(b"# A note.\r\ntemplates:\r\n- 'a video of {}'\r\n- \"{}\"\r\n")
    world.encoder = world.encoder.rename(world.folder / "elsewhere")
    (world.encoder / "note.txt").write_text("not loaded")
    assert world.write() == digest
    assert (world.folder / "out.safetensors").read_bytes() == fresh
    world.write_manifest("Sprint", "Jump")
    world.phrases.write_text("Sprint: [running]\nJump: [jumping, leaping]\nOther: [unused]\n")
    assert world.write() == digest
    assert read_class_embeddings(world.folder / "out.safetensors").class_names == ("Sprint", "Jump")
    assert [line for line in caplog.messages if "class embeddings" in line] == [
        "class embeddings computed",
        *["class embeddings taken from the cache"] * 2,
    ]


def test_what_counts_is_computed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write()
    world.templates.write_text("templates: ['{}', 'a video of {}']\n")
    world.write()
    world.write(precision="bf16")
    (world.encoder / "open_clip_model.safetensors").write_bytes(b"weightS")
    world.write()
    world.write_manifest("Jump", "Run")
    world.write()
    assert caplog.messages.count("class embeddings computed") == 5
