"""Configurations that `moclip cache` is given."""

from pathlib import Path

import pytest
import yaml

from moclip.cli.main import main
from tests.shipped import read_shipped


def test_files_of_one_option_are_merged_and_each_option_is_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = {"one": read_shipped("config"), "other": read_shipped("order"), "paths": {"cache_dir": "elsewhere"}}
    for name, config in shipped.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(config))
    main(["cache", "--configfile", "one.yaml", "paths.yaml"])
    assert capsys.readouterr().out.startswith("elsewhere:")
    main(["cache", "--configfile", "one.yaml", "paths.yaml", "--configfile", "other.yaml"])
    printed = capsys.readouterr().out
    assert "elsewhere:" in printed
    assert "results/.cache:" in printed
