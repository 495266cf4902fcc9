"""Configuration files: a key that is written twice is refused with both lines."""

from pathlib import Path

import pytest

from moclip.core.files import read_yaml
from moclip.errors import ConfigError


def refusal(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [("a", 1, 3)]),
        ("experiments:\n  fusion: {head: mlp}\n  fusion: {head: linear}\n", [("fusion", 2, 3)]),
        ("a: {b: 1, c: 2, b: 3}\n", [("b", 1, 1)]),
        ("a:\n- x: 1\n  x: 2\n", [("x", 2, 3)]),
        ('a: 1\n"a": 2\n', [("a", 1, 2)]),
        ("1: x\n1: y\nno: x\nno: y\n", [("1", 1, 2), ("no", 3, 4)]),
        ("a: 1\nb: {c: 1, c: 2}\na: 2\na: 3\n", [("a", 1, 3), ("a", 1, 4), ("c", 2, 2)]),
    ],
)
def test_every_key_that_is_written_twice_is_named_with_both_lines(
    tmp_path: Path, text: str, expected: list[tuple[str, int, int]]
) -> None:
    path = tmp_path / "mine.yaml"
    lines = refusal(path, text)
    assert lines == [
        f"{path}: the key `{key}` is in line {first} and again in line {second}; "
        "rename or remove one: the first is lost"
        for key, first, second in expected
    ]


def test_a_key_written_twice_in_json_is_found_behind_tabs(tmp_path: Path) -> None:
    lines = refusal(tmp_path / "mine.json", '{\n\t"a": {"b": 1},\n\t"a": 2\n}')
    assert "the key `a` is in line 2 and again in line 3" in lines[0]


def test_merged_keys_and_equal_keys_of_different_mappings_are_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  x: 3\nc:\n  <<: *b\n  y: 4\nd: *a\n", encoding="utf-8")
    found = read_yaml(path)
    assert (found["a"], found["b"], found["c"]) == ({"x": 1, "y": 2}, {"x": 3, "y": 2}, {"x": 3, "y": 4})
    assert found["d"] == found["a"]


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "a: !!python/object:os.system x\n"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    assert len(refusal(tmp_path / "mine.yaml", text)) == 1
