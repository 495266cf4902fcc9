"""No id, class, experiment or variant leaves the results folder, breaks a table, or is taken for something else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from moclip.cache.index import read_index
from moclip.config.dataset_settings import Dataset
from moclip.config.settings import AppearanceVariant
from moclip.config.validation import check_config
from moclip.dataset.lists import check_name, check_video_path
from moclip.dataset.manifest import build_manifest, read_manifest, write_manifest
from moclip.encoders.spec import check_encoder
from moclip.errors import ConfigError, DatasetError, ModelError, ShardError
from tests.workflow.conftest import toy_config

REPOSITORY = Path(__file__).resolve().parents[2]

# Where each names a folder, these would lead out of it, break a line, look like an option, or hide what they are.
HOSTILE_NAMES = [
    "", ".", "..", "../up", "a/b", "/etc", "a\\b", "a\0b", "a\nb", "name\n", "a\tb", "a b", " a", "-rf", "--config",
    "{shard}", "a{x}", "*", "$(x)", ";x", "'", '"', "é", "e\u0301", "\u202egpj", "\uff41", "x" * 201, "\x1b[2J", "\x85",
    "\u2028", ".hidden",
]  # fmt: skip


def with_dataset(config: dict[str, Any], name: str) -> None:
    config["dataset"]["name"] = name


def with_variant(section: str) -> Any:
    def rename(config: dict[str, Any], name: str) -> None:
        config[section] = {name: next(iter(config[section].values()))}

    return rename


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_name_of_the_configuration_that_becomes_a_folder_is_plain(name: str) -> None:
    for change in (with_dataset, *map(with_variant, ("motion", "appearance", "motion_network", "head", "experiments"))):
        config = toy_config()
        change(config, name)
        with pytest.raises(ConfigError) as caught:
            check_config(config)
        assert all(line.startswith("config: ") and line.isascii() for line in str(caught.value).split("\n"))


@pytest.mark.parametrize(
    "path",
    ["../a.mp4", "/a.mp4", "a/../../b.mp4", "a\0.mp4", "a\n.mp4", "a\t.mp4", "\u202egpj.mp4", "\x1b[2J.mp4", "\x85.mp4",
     "\u2028.mp4", "\ud800.mp4", f"{'x' * 2000}.mp4", "..", ".mp4", ""],
    ids=ascii,
)  # fmt: skip
def test_a_path_in_a_list_that_leaves_the_root_or_breaks_a_table_is_refused(path: str) -> None:
    with pytest.raises(DatasetError, match=r"^list, line 1: expected") as caught:
        check_video_path(path, place="list, line 1")
    assert str(caught.value).isprintable()


ODD = [
    "-rf",
    "a b",
    "{shard}",
    "e\u0301",
    "\u00e9",
    "$(touch x)",
    ";ls",
    "<script>alert(1)</script>",
    "''",
    "%s",
    "*",
    "~",
]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Classes and videos with names that are odd but harmless, where nothing takes them for anything else."""
    for name in ODD:
        for number in range(4):
            folder = tmp_path / "videos" / name.replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name.replace('/', '_')} {number}.mp4").write_text(f"{name} {number}")
    return tmp_path


def test_odd_names_come_through_the_manifest_as_they_are(odd: Path) -> None:
    dataset = {
        "name": "odd", "layout": "folders", "root": str(odd / "videos"), "lists": "", "classes": [],
        "validation_fraction": 0.25, "validation_seed": 0, "test_fraction": 0.25, "num_shards": 2,
        "fingerprint": "content",
    }  # fmt: skip
    frame = build_manifest(Dataset.model_validate(dataset))
    write_manifest(frame, odd / "manifest.tsv")
    again = read_manifest(odd / "manifest.tsv")
    assert again["video_id"].tolist() == frame["video_id"].tolist()
    assert set(again["class_name"]) == {name.replace("/", "_") for name in ODD}
    assert {path.name for path in odd.iterdir()} == {"videos", "manifest.tsv"}


@pytest.mark.parametrize("cell", ["../../etc/passwd.mp4", "/etc/passwd.mp4", "a/../../x.mp4"])
def test_a_manifest_that_was_edited_leads_nowhere_else(tmp_path: Path, cell: str) -> None:
    columns = ["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"]
    row = [cell.removesuffix(".mp4"), cell, "Jump", "0", "g", "0" * 32, "0", "train"]
    (tmp_path / "manifest.tsv").write_text("\t".join(columns) + "\n" + "\t".join(row) + "\n")
    with pytest.raises(DatasetError, match=r"line 2: expected a path below the root"):
        read_manifest(tmp_path / "manifest.tsv")


@pytest.mark.parametrize("file", ["../../x.h5", "/x.h5", "a/b.h5", "x.txt", ".h5"])
def test_an_index_names_only_shards_beside_it(tmp_path: Path, file: str) -> None:
    shard = {"file": file, "content": "c", "num_videos": 1, "num_rejected": 0}
    document = {"format": 3, "extractor": "e", "provenance": {}, "content": "c", "subsets": {}, "shards": [shard]}
    (tmp_path / "index.json").write_text(json.dumps(document))
    with pytest.raises(ShardError, match="expected the name of a shard next to it"):
        read_index(tmp_path / "index.json")


@pytest.mark.parametrize(
    "model",
    [
        {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}},
        {"vision_cfg": {"timm_model_name": "hf-hub:someone/model"}},
        {"vision_cfg": {"timm_model_name": "local-dir:/tmp"}},
    ],
)
def test_an_encoder_of_a_stranger_runs_no_code_of_a_hub(tmp_path: Path, model: Mapping[str, Any]) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="take another model"):
        check_encoder(AppearanceVariant(model=f"local-dir:{tmp_path}"))


def test_a_name_may_be_long_but_not_endless() -> None:
    assert check_name("x" * 1024, place="here") == "x" * 1024
    with pytest.raises(DatasetError, match="at most 1024 bytes"):
        check_name("\u00e9" * 513, place="here")
