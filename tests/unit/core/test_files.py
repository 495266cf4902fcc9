"""Atomic writes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from moclip.core.files import replace_atomically


@pytest.fixture(params=[0o002, 0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_every_file_has_the_mode_of_the_umask(umask: int, tmp_path: Path) -> None:
    with replace_atomically(tmp_path / "weights.safetensors") as temporary:
        save_file({"a": torch.zeros(3)}, str(temporary))
    with replace_atomically(tmp_path / "table.tsv") as temporary:
        temporary.write_text("a")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_block_that_fails_or_writes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), replace_atomically(path) as temporary:
        temporary.write_text({}["new"])
    with pytest.raises(FileNotFoundError), replace_atomically(path):
        pass
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
