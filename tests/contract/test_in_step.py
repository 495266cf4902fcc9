"""What is said in two places is the same in both."""

import argparse
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from tools.draw_architecture import insert_drawings
from tools.draw_method import draw_all
from tools.write_config_manual import build_manual, build_schema

from moclip.cli.main import build_parser, parse_arguments
from moclip.config.methods import METHODS
from moclip.config.settings import Experiment, HeadVariant, MatrixKey, MethodName, Settings
from moclip.config.validation import check_config
from tests.shipped import SHIPPED, read_shipped


def test_the_schema_and_the_manual_of_keys_are_in_step_with_the_settings(repository: Path) -> None:
    command = "run: python tools/write_config_manual.py"
    assert (repository / "workflow/schemas/config.schema.yaml").read_text() == build_schema(), command
    assert (repository / "config/README.md").read_text() == build_manual(), command


@pytest.mark.parametrize("name", SHIPPED)
def test_every_configuration_that_is_shipped_is_valid(name: str) -> None:
    check_config(read_shipped(name))


def list_numbers(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node.get("type") in {"integer", "number"}:
        yield node
    yield from list_numbers(node["items"]) if "items" in node else ()


@pytest.mark.parametrize("section", sorted(Settings.model_json_schema()["$defs"]))
def test_every_key_is_described_and_every_number_has_a_range(section: str) -> None:
    schema = Settings.model_json_schema()
    definition = schema["$defs"][section]
    assert definition["additionalProperties"] is False
    assert definition["description"]
    for key, node in definition["properties"].items():
        assert "$ref" in node or node["description"], f"{section}.{key} has no description"
        for number in list_numbers(node):
            bounded = {"enum"} & set(number) or ({"minimum", "exclusiveMinimum"} & set(number) and "maximum" in number)
            assert bounded, f"{section}.{key} has no range"


def test_a_matrix_varies_every_key_of_an_experiment_and_of_a_head_that_can_be_in_a_name() -> None:
    experiment = set(Experiment.model_fields) - {"matrix", "splits", "seeds"}
    head = {f"head.{key}" for key in HeadVariant.model_fields} - {"head.neighbours"}
    assert set(get_args(MatrixKey)) == experiment | head


def test_the_methods_of_the_settings_are_those_that_a_run_reports() -> None:
    assert set(get_args(MethodName)) == set(METHODS)


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


@pytest.mark.parametrize("extra", ["openvino", "setup"])
def test_the_lock_of_an_extra_holds_its_pins(repository: Path, extra: str) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = (repository / f"requirements-{extra}.lock").read_text()
    for pin in extras[extra]:
        assert f"\n{pin} \\" in lock, f"{pin} is not in requirements-{extra}.lock; run: make lock"
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


def test_the_pictures_of_the_method_are_in_step_with_the_style_sheet(repository: Path) -> None:
    for name, picture in draw_all().items():
        assert (repository / "docs/figures" / name).read_text() == picture, "run: python tools/draw_method.py"
