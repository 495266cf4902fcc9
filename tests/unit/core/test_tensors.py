"""Tables and tensors come back as they were written, and a damaged file is named."""

from pathlib import Path

import numpy as np
import pytest

from moclip.core.files import read_tsv, write_tsv
from moclip.core.tensors import (
    expect_tensors,
    pack_tensors,
    read_note,
    read_tensors,
    replace_note,
    unpack_tensors,
    write_tensors,
)
from moclip.errors import ModelError

TENSORS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "step": np.array(3.0, np.float32)}


def test_a_table_has_empty_cells_for_none_and_nan_and_rounds_floats(tmp_path: Path) -> None:
    rows = [("a\tb", 1, None, 0.123456), ("c", 2, float("nan"), 1.0)]
    write_tsv(tmp_path / "table.tsv", header=["name", "n", "gap", "x"], rows=rows, num_digits=3)
    found = read_tsv(tmp_path / "table.tsv", columns=["gap", "x"])
    assert [tuple(row.values()) for row in found] == [("a\tb", "1", "", "0.123"), ("c", "2", "", "1.0")]
    with pytest.raises(ValueError, match="no column `y`"):
        read_tsv(tmp_path / "table.tsv", columns=["y"])


def test_tensors_and_their_note_come_back_from_a_file_and_from_bytes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS, note={"split": 1})
    assert (tmp_path / "file").read_bytes() == pack_tensors(dict(reversed(TENSORS.items())), note={"split": 1})
    for tensors, note in (read_tensors(tmp_path / "file"), unpack_tensors((tmp_path / "file").read_bytes())):
        assert note["split"] == 1
        assert all(np.array_equal(tensors[name], value) for name, value in TENSORS.items())
        assert tensors["step"].shape == ()


def test_a_replaced_note_keeps_tensors_and_digest(tmp_path: Path) -> None:
    packed = pack_tensors(TENSORS, note={"groups": ["a"]})
    assert replace_note(packed, changes={"groups": ["a"]}) is packed
    (tmp_path / "file").write_bytes(replace_note(packed, changes={"groups": ["a", "b"]}))
    assert read_note(tmp_path / "file")["groups"] == ["a", "b"]
    assert np.array_equal(read_tensors(tmp_path / "file")[0]["weight"], TENSORS["weight"])


@pytest.mark.parametrize("at", [3, 40, -2])
def test_a_file_with_a_changed_byte_is_named(tmp_path: Path, at: int) -> None:
    content = bytearray(pack_tensors(TENSORS, note={}))
    content[at] ^= 1
    (tmp_path / "file").write_bytes(content)
    with (
        pytest.raises(ModelError, match=r"file: expected a network \(.*\); run again"),
        expect_tensors(tmp_path / "file", "a network"),
    ):
        read_tensors(tmp_path / "file")
