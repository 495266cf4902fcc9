"""What is said in two places is the same in both."""

import argparse
import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from tools.draw_architecture import insert_drawings

from moclip.cli.main import build_parser, parse_arguments
from moclip.config.manual import build_manual
from moclip.config.validation import check_config


def load_schema(repository: Path) -> dict[str, object]:
    schema: dict[str, object] = yaml.safe_load((repository / "workflow/schemas/config.schema.yaml").read_text())
    return schema


def test_the_manual_of_the_keys_is_in_step_with_the_schema(repository: Path) -> None:
    expected = build_manual(load_schema(repository))
    found = (repository / "config/README.md").read_text()
    assert found == expected, "run: moclip config-manual > config/README.md"


@pytest.mark.parametrize("name", ["config", "ucf101_5", "ucf101", "hmdb51"])
def test_every_configuration_that_is_shipped_is_valid(repository: Path, name: str) -> None:
    config = yaml.safe_load((repository / f"config/{name}.yaml").read_text())
    check_config(config, schema=load_schema(repository))


def every_node(node: object, path: str = "") -> list[tuple[str, dict[str, object]]]:
    if not isinstance(node, dict):
        return []
    found = [(f"{path}.{key}", below) for key, below in node.get("properties", {}).items()]
    for key, below in [*node.get("properties", {}).items(), *node.get("$defs", {}).items()]:
        found += every_node(below, f"{path}.{key}")
    return found


def test_every_key_is_described_and_bounded(repository: Path) -> None:
    for path, node in every_node(load_schema(repository)):
        assert "$ref" in node or node.get("description"), f"{path} has no description"
        if node.get("type") in {"integer", "number"}:
            assert {"minimum", "exclusiveMinimum"} & set(node), f"{path} has no lower bound"
        if node.get("type") == "object" and "properties" in node:
            assert node.get("additionalProperties") is False, f"{path} lets unknown keys pass"


def test_conda_users_get_the_same_pins(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    pip = yaml.safe_load((repository / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert pip == [*project["dependencies"], "--editable ."]


def test_the_lock_holds_every_pinned_dependency(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lock = (repository / "requirements.lock").read_text()
    for pin in (entry for entry in project["dependencies"] if "==" in entry):
        assert f"\n{pin.replace('_', '-')} \\" in lock, f"{pin} is not in requirements.lock; run: make lock"
    assert "://" not in lock, "the lock names no index"


def test_the_lock_of_openvino_holds_its_pins(repository: Path) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = (repository / "requirements-openvino.lock").read_text()
    for pin in extras["openvino"]:
        assert f"\n{pin} \\" in lock, f"{pin} is not in requirements-openvino.lock; run: make lock"
    assert "://" not in lock, "the lock names no index"


def test_the_lock_of_the_onnx_export_holds_its_pins_and_nothing_of_the_other(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lock = (repository / "requirements-export.lock").read_text()
    for pin in project["optional-dependencies"]["export"]:
        assert f"\n{pin} \\" in lock, f"{pin} is not in requirements-export.lock; run: make lock"
    own = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    others = {
        line.split("==")[0] for line in (repository / "requirements.lock").read_text().splitlines() if "==" in line
    }
    assert not own & others, "run: make lock"
    assert "://" not in lock, "the lock names no index"


COMMANDS = next(action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
SCREEN_LINES = 40


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_opens_with_examples_fits_a_screen_and_its_examples_are_understood(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = COMMANDS[name].format_help().splitlines()
    assert len(lines) <= SCREEN_LINES
    assert "examples:" in lines[:5]
    examples = itertools.takewhile(str.strip, lines[lines.index("examples:") + 1 :])
    calls = [found[1] for line in examples for found in re.finditer(r"moclip ([^|>)&]+)", line)]
    own = [words for call in calls if (words := shlex.split(call, comments=True))[0] == name]
    assert own, "no example calls the command itself"
    for words in own:
        parse_arguments(words)


def test_the_drawings_of_the_architecture_are_in_step_with_the_library(repository: Path) -> None:
    page = (repository / "docs/architecture.md").read_text()
    assert insert_drawings(page) == page, "run: python tools/draw_architecture.py"
