"""The blocks of README.md and docs/*.md that are not marked as not run succeed, in the order of their page."""

import os
import shlex
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs import read_blocks
from tests.workflow.conftest import REPOSITORY, Project
from tests.workflow.test_use import run_command

pytestmark = pytest.mark.workflow

BLOCKS = [block for block in read_blocks() if block.is_run]
# What the pages name of the demo, and what stands for it in the toy project.
STANDS_FOR = {
    "results/demo/dataset/videos/StarBouncing/v_StarBouncing_g01_c01.mp4": "videos/MovingDown/v0.mp4",
    "results/demo/dataset/videos/StarBouncing/": "videos/MovingDown/",
    "results/demo/dataset/videos": "videos",
    "StarBouncing/v_StarBouncing_g01_c01": "MovingDown/v0",
    "appearance/demo-clip": "appearance/clip",
    "results/demo": "results/toy",
    "--at 15 ": "--at 5 ",
}


@pytest.fixture(scope="module")
def reader(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader: a finished project, videos and a configuration of his own, and the commands in .venv."""
    project = finished.copy(tmp_path_factory.mktemp("reader") / "project")
    folder = project.folder
    videos = {"video.mp4": "v0.mp4", "other.avi": "v1.avi", "more-videos/third.mp4": "v2.mp4"}
    (folder / "more-videos").mkdir()
    for name, source in videos.items():
        shutil.copyfile(folder / "videos/MovingDown" / source, folder / name)
    # Where the demo has its videos, which `search --html` takes where no folder is named.
    (project.results() / "dataset").mkdir()
    (project.results() / "dataset/videos").symlink_to(folder / "videos")
    for name in ("Snakefile", "workflow", "environment.yml"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "config").mkdir()
    shutil.copyfile(folder / "config.yaml", folder / "config/config.yaml")
    mine = {**project.config, "dataset": {**project.config["dataset"], "name": "mine"}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    command = folder / ".venv/bin/snakemake"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m snakemake "$@"\n')
    command.chmod(0o755)
    return folder


def run_line(line: str, variables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run one line of sh: commands of moclip in this process, which saves their seconds of imports."""
    words = shlex.split(string.Template(line).safe_substitute(variables), comments=True)
    if len(words) == 1 and words[0].partition("=")[0].isidentifier():
        name, _, value = words[0].partition("=")
        variables[name] = value
    elif words[0] in ("moclip", ".venv/bin/moclip"):
        code, printed = run_command(shlex.join(["moclip", *words[1:]]), capsys)
        assert code == 0, line
        assert printed, line
    else:
        path = f"{Path('.venv/bin').resolve()}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(words, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, line + done.stdout + done.stderr


def test_every_name_that_is_replaced_is_in_a_block() -> None:
    assert [name for name in STANDS_FOR if not any(name in block.text for block in BLOCKS)] == []


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_every_block_of_a_page_succeeds_in_order(
    page: str, reader: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reader)
    names: dict[str, object] = {}
    variables: dict[str, str] = {}
    for block in (block for block in BLOCKS if block.page == page):
        text = block.text
        for name, stands_for in STANDS_FOR.items():
            text = text.replace(name, stands_for)
        if block.language == "python":
            exec(compile(text, str(block), "exec"), names)  # noqa: S102 (what the page tells its readers to run)
            continue
        for line in text.splitlines():
            run_line(line, variables, capsys)
