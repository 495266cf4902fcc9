"""What a configuration names is checked before the first job, all at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from moclip.config.settings import Settings
from moclip.config.validation import check_config
from moclip.dataset.manifest import dataset_signature
from moclip.errors import ConfigError
from moclip.workflow import preflight
from moclip.workflow.preflight import check_sources

CLASSES = ("BrushingTeeth", "Lunges")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    for class_name in CLASSES:
        for number in range(6):
            path = tmp_path / "videos" / class_name / f"v{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(path), encoding="utf-8")
    (tmp_path / "templates.yaml").write_text("templates: ['a {}.']", encoding="utf-8")
    (tmp_path / "phrases.yaml").write_text(yaml.safe_dump({name: ["x"] for name in CLASSES}), encoding="utf-8")
    return {
        "dataset": {"name": "own", "layout": "folders", "root": str(tmp_path / "videos")},
        "cache_dir": str(tmp_path / "cache"),
        "motion": {"original": {}},
        "appearance": {"clip": {"model": "ViT-B-32", "weights": "openai"}},
        "text": {
            "prompts": {
                "appearance": "clip",
                "templates": str(tmp_path / "templates.yaml"),
                "phrases": str(tmp_path / "phrases.yaml"),
            }
        },
        "motion_network": {"net": {"motion": "original", "backbone": "efficientnet_b0", "weights": "timm:ra_in1k"}},
        "head": {"mlp": {}},
        "experiments": {"e": {"appearance": "clip", "motion_network": "net", "text": "prompts", "head": "mlp"}},
    }


def check(config: dict[str, Any]) -> list[str]:
    """Return the lines of errors."""
    settings: Settings = check_config(config)
    try:
        check_sources(settings, listing=dataset_signature(settings.dataset))
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_a_right_configuration_passes_and_its_lists_are_read_once(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(config) == []
    monkeypatch.setattr(preflight, "read_listing", lambda dataset: pytest.fail("read again"))
    assert check(config) == []
    # A video more, or other rules, are read again.
    (Path(config["dataset"]["root"]) / "Lunges/v9.mp4").write_text("new", encoding="utf-8")
    with pytest.raises(pytest.fail.Exception):
        check(config)


def test_all_errors_are_reported_at_once_with_the_nearest_names(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "phrases.yaml").write_text(yaml.safe_dump({"Brushing Teeth": ["x"], "Lunges": ["y"]}), encoding="utf-8")
    config["appearance"]["clip"]["weights"] = "opnai"
    config["motion_network"]["net"]["backbone"] = "efficientnet_b00"
    config["experiments"]["e"]["splits"] = [1, 2]
    lines = check(config)
    expected = [
        "config: appearance.clip: ViT-B-32: no weights tagged `opnai`; the nearest are openai",
        "config: motion_network.net: efficientnet_b00: no timm model of that name; the nearest are efficientnet_b0,",
        "config: experiments.e.splits: expected splits of the dataset (1), found 2",
        "config: text.prompts: phrases: the class `BrushingTeeth` has no phrases; the nearest key is `Brushing Teeth`",
    ]
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


@pytest.mark.parametrize(
    ("section", "changes", "expected"),
    [
        ("dataset", {"classes": ["Lunge"]}, "dataset.classes: there is no class `Lunge`; the nearest one is `Lunges`"),
        ("dataset", {"groups": "(scene)"}, "dataset.groups: expected a group for every video from `(scene)`"),
        ("dataset", {"layout": "table", "lists": "videos.csv"}, "dataset.lists: expected a file, found none"),
    ],
)
def test_errors_of_the_lists_are_found_without_a_job(
    config: dict[str, Any], section: str, changes: dict[str, Any], expected: str
) -> None:
    config[section] |= changes
    settings = check_config(config)
    with pytest.raises(ConfigError) as caught:
        check_sources(settings, listing="any")
    assert expected in str(caught.value)


def test_weights_are_checked_where_an_experiment_uses_them(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"<html>not found</html>")
    config["motion_network"]["net"]["weights"] = str(path)
    config["motion_network"]["unused"] = {"motion": "original", "backbone": "nothing", "weights": "none"}
    assert check(config) == [
        f"config: motion_network.net: {path}: expected the weights of a model, found a web page; "
        "download the file itself"
    ]
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}), encoding="utf-8")
    (folder / "open_clip_model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    config["appearance"]["clip"] = {"model": f"local-dir:{folder}"}
    assert "a Git LFS pointer" in check(config)[0]


def test_videos_that_are_yet_to_be_rendered_are_not_asked_for(config: dict[str, Any]) -> None:
    config["dataset"] |= {"generate": "demo", "layout": "ucf101", "root": "nowhere/videos", "lists": "nowhere/lists"}
    check_sources(check_config(config), listing=None)
