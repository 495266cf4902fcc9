"""Shipped files are found from any directory, and conda installs the library from the project."""

from pathlib import Path

import pytest

from moclip.config.settings import Settings
from moclip.workflow.shipped import environment_file, find_home, find_shipped


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder; the working directory is another one, which has a file of its own."""
    for place in ("home/config/prompts", "home/resources/clip", "work/config/prompts"):
        (tmp_path / place).mkdir(parents=True)
    for place in (
        "home/config/prompts/shipped.yaml",
        "home/config/prompts/both.yaml",
        "work/config/prompts/both.yaml",
        "home/resources/model.pt",
    ):
        (tmp_path / place).touch()
    (tmp_path / "home/environment.yml").write_text("  - pip:\n      - numpy\n      - --editable .\n")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_the_scripts_of_a_snakefile_at_a_url_are_those_of_the_library(tmp_path: Path, repository: Path) -> None:
    assert find_home("https://github.com/owner/moclip/raw/v1") == repository
    (tmp_path / "workflow/scripts").mkdir(parents=True)
    assert find_home(str(tmp_path)) == tmp_path


def test_shipped_files_are_found_from_another_directory_and_own_files_win(home: Path) -> None:
    prompts = "config/prompts"
    settings = Settings.model_validate(
        {
            "dataset": {"name": "d", "layout": "folders", "root": prompts},
            "motion": {},
            "appearance": {
                "clip": {"model": "local-dir:resources/clip"},
                "file": {"model": "ViT-B-32", "weights": "resources/model.pt"},
                "open": {"model": "ViT-B-32", "weights": "openai"},
            },
            "text": {
                "a": {"appearance": "clip", "templates": f"{prompts}/shipped.yaml", "phrases": "from_class_names"},
                "b": {"appearance": "clip", "templates": f"{prompts}/both.yaml", "phrases": f"{prompts}/nowhere.yaml"},
            },
            "motion_network": {},
            "head": {},
            "experiments": {"e": {"methods": ["zero_shot"], "appearance": "clip", "text": "a", "splits": [1]}},
        }
    )
    found = find_shipped(settings, home=home)
    assert (found.text["a"].templates, found.text["a"].phrases) == (
        f"{home}/{prompts}/shipped.yaml",
        "from_class_names",
    )
    assert found.text["b"] == settings.text["b"]
    assert found.appearance["clip"].model == f"local-dir:{home}/resources/clip"
    assert found.appearance["file"].weights == f"{home}/resources/model.pt"
    assert found.appearance["open"] == settings.appearance["open"]
    assert found.dataset == settings.dataset


def test_conda_installs_the_library_from_the_project(home: Path) -> None:
    assert environment_file(home, uses_conda=False) == str(home / "environment.yml")
    copy = Path(environment_file(home, uses_conda=True))
    assert copy.is_absolute()
    assert copy.read_text().splitlines()[-1].strip() == f"- --editable {home}"
