"""The digest of the code changes with what the code does, and with nothing else."""

from pathlib import Path

import pytest

from moclip import code_digest as module
from moclip.code_digest import code_digest, list_reached, script_digests


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path) -> None:
    plain = write(tmp_path, "a.py", "def f(x):\n    return x + 1\n")
    dressed = write(tmp_path, "b.py", '"""Says."""\n\n\ndef f( x ):  # why\n    """Adds."""\n    return x + 1\n')
    assert code_digest(plain) == code_digest(dressed)


def test_an_edited_line_counts(tmp_path: Path) -> None:
    assert code_digest(write(tmp_path, "a.py", "x = 1\n")) != code_digest(write(tmp_path, "b.py", "x = 2\n"))


def test_imports_are_followed_through_the_package(tmp_path: Path) -> None:
    script = write(tmp_path, "a.py", "def f():\n    from moclip.row_cache import build_shard\n    return build_shard\n")
    places = list_reached(script)
    assert {"moclip.row_cache", "moclip.shards", "moclip.errors"} <= {module for module, _ in places}
    assert ("moclip.shards", "ShardWriter") in places


def test_what_the_script_cannot_reach_does_not_count(tmp_path: Path) -> None:
    places = list_reached(write(tmp_path, "a.py", "from moclip.versions import MOTION_VERSION\n"))
    assert ("moclip.versions", "MOTION_VERSION") in places
    assert ("moclip.versions", "TEXT_VERSION") not in places


def test_a_module_that_is_imported_whole_counts_whole(tmp_path: Path) -> None:
    places = list_reached(write(tmp_path, "a.py", "from moclip import versions\n"))
    assert {("moclip.versions", "MOTION_VERSION"), ("moclip.versions", "TEXT_VERSION")} <= set(places)


def test_a_table_of_functions_brings_its_functions(tmp_path: Path) -> None:
    places = list_reached(write(tmp_path, "a.py", "from moclip.layouts import read_listing\n"))
    assert {("moclip.layouts", "_READERS"), ("moclip.layouts", "_read_hmdb51")} <= set(places)


def test_an_imported_module_counts_even_where_the_script_stays_the_same(tmp_path: Path) -> None:
    one = write(tmp_path, "a.py", "import moclip.errors\nx = 1\n")
    other = write(tmp_path, "b.py", "import moclip.shards\nx = 1\n")
    assert code_digest(one) != code_digest(other)


def test_remembered_digests_are_those_of_the_scripts_whatever_happens_to_the_memo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts, memo = tmp_path / "scripts", tmp_path / "memo"
    scripts.mkdir()
    first = write(scripts, "a.py", "from moclip.versions import MOTION_VERSION\n")
    expected = {"a": code_digest(first)}
    assert script_digests(scripts, memo=memo) == expected
    with monkeypatch.context() as patched:
        patched.setattr(module, "code_digest", lambda script: pytest.fail("computed again"))
        assert script_digests(scripts, memo=memo) == expected
    next(memo.iterdir()).write_text("{")
    assert script_digests(scripts, memo=memo) == expected
    second = write(scripts, "b.py", "x = 1\n")
    assert script_digests(scripts, memo=memo) == {**expected, "b": code_digest(second)}
    assert script_digests(scripts, memo=first / "no folder") == {**expected, "b": code_digest(second)}


def test_an_edited_module_or_script_is_not_taken_for_what_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src/moclip"
    package.mkdir(parents=True)
    monkeypatch.setattr(module, "_ROOT", tmp_path / "src")
    script = write(tmp_path, "a.py", "import json\n")
    keys = [module._sources_digest([script])]
    for path, text in ((package / "one.py", "x = 1\n"), (package / "one.py", "x = 2\n"), (script, "import sys\n")):
        path.write_text(text)
        keys.append(module._sources_digest([script]))
    assert len(set(keys)) == len(keys)
