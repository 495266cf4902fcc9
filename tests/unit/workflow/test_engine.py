"""What the rule files take from the library: shipped files, and the environment of the rules."""

from pathlib import Path

import pytest

from moclip.workflow.engine import environment_file, find_shipped


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder; the working directory is another one, which has a file of its own."""
    for place in ("home/config/prompts", "home/resources/clip", "work/config/prompts"):
        (tmp_path / place).mkdir(parents=True)
    for place in ("home/config/prompts/shipped.yaml", "home/config/prompts/both.yaml", "work/config/prompts/both.yaml"):
        (tmp_path / place).touch()
    (tmp_path / "home/environment.yml").write_text("  - pip:\n      - numpy\n      - --editable .\n")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_shipped_files_are_found_from_another_directory_and_own_files_win(home: Path) -> None:
    config = {
        "text": {
            "a": {"templates": "config/prompts/shipped.yaml", "phrases": "from_class_names"},
            "b": {"templates": "config/prompts/both.yaml", "phrases": "config/prompts/nowhere.yaml"},
        },
        "appearance": {"clip": {"model": "local-dir:resources/clip", "weights": ""}, "open": {"model": "ViT-B-32"}},
        "dataset": {"root": "config/prompts"},
    }
    assert find_shipped(config, home=home) == {
        "text": {
            "a": {"templates": f"{home}/config/prompts/shipped.yaml", "phrases": "from_class_names"},
            "b": {"templates": "config/prompts/both.yaml", "phrases": "config/prompts/nowhere.yaml"},
        },
        "appearance": {
            "clip": {"model": f"local-dir:{home}/resources/clip", "weights": ""},
            "open": {"model": "ViT-B-32"},
        },
        "dataset": {"root": "config/prompts"},
    }


def test_a_wrong_configuration_is_left_to_its_check(home: Path) -> None:
    for config in ({"text": [1]}, {"text": {"a": None}}, {"text": {"a": {"templates": 3}}}, {}):
        assert find_shipped(config, home=home) == config


def test_conda_installs_the_library_from_the_project(home: Path) -> None:
    assert environment_file(home, uses_conda=False) == str(home / "environment.yml")
    copy = Path(environment_file(home, uses_conda=True))
    assert copy.is_absolute()
    assert copy.read_text().splitlines()[-1].strip() == f"- --editable {home}"
