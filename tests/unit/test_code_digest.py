"""The digest of the code changes with what the code does, and with nothing else."""

from pathlib import Path

from moclip.code_digest import code_digest, reached_modules


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
    assert {"moclip.row_cache", "moclip.shards", "moclip.errors"} <= reached_modules(script)


def test_an_imported_module_counts_even_where_the_script_stays_the_same(tmp_path: Path) -> None:
    one = write(tmp_path, "a.py", "import moclip.errors\nx = 1\n")
    other = write(tmp_path, "b.py", "import moclip.shards\nx = 1\n")
    assert code_digest(one) != code_digest(other)
