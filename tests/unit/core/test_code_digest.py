"""The digest of the code changes with what the code does, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from moclip.core import code_digest as module
from moclip.core.code_digest import code_digest, list_reached, script_digests


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
    script = write(
        tmp_path, "a.py", "from moclip.cache.row_cache import assemble_shard\n\n\ndef f():\n    return assemble_shard\n"
    )
    places = list_reached(script)
    assert {"moclip.cache.row_cache", "moclip.cache.writer", "moclip.errors"} <= {module for module, _ in places}
    assert ("moclip.cache.writer", "ShardWriter") in places


def test_what_the_script_cannot_reach_does_not_count(tmp_path: Path) -> None:
    places = list_reached(write(tmp_path, "a.py", "from moclip.versions import MOTION_VERSION\n"))
    assert ("moclip.versions", "MOTION_VERSION") in places
    assert ("moclip.versions", "TEXT_VERSION") not in places


def test_a_module_that_is_imported_whole_counts_whole(tmp_path: Path) -> None:
    places = list_reached(write(tmp_path, "a.py", "from moclip import versions\n"))
    assert {("moclip.versions", "MOTION_VERSION"), ("moclip.versions", "TEXT_VERSION")} <= set(places)


def test_a_table_of_functions_brings_its_functions(tmp_path: Path) -> None:
    places = list_reached(write(tmp_path, "a.py", "from moclip.dataset.layouts import read_listing\n"))
    assert {("moclip.dataset.layouts", "_READERS"), ("moclip.dataset.layouts", "_read_hmdb51")} <= set(places)


def test_an_imported_module_counts_even_where_the_script_stays_the_same(tmp_path: Path) -> None:
    one = write(tmp_path, "a.py", "import moclip.errors\nx = 1\n")
    other = write(tmp_path, "b.py", "import moclip.cache.format\nx = 1\n")
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


# A package of two stages: `fast` reaches SPEED, and both reach `shared` and its constant.
PACKAGE = {
    "__init__": "",
    "one": '"""One."""\nimport json\nfrom moclip.two import SIZE, shared\n\nSPEED = 3\n\n\n'
    "def fast(x):\n    return shared(x) * SPEED + SIZE + len(json.dumps(x))\n",
    "two": "import json\nimport math\n\nSIZE = 5\n\n\ndef shared(x):\n    from moclip.three import deep\n"
    "    return deep(x) + math.pi\n\n\n"
    "def slow(x):\n    return shared(x) - len(json.dumps(SIZE))\n",
    "three": "DEPTH = 7\n\n\ndef deep(x):\n    return DEPTH + x\n\n\ndef unused():\n    return -DEPTH\n",
}
STAGES = {
    "fast": "from moclip.one import fast\n\nfast(1)\n",
    "slow": "from moclip.two import slow\n\nslow(1)\n",
}


def digests_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, package: dict[str, str], stages: dict[str, str] = STAGES
) -> dict[str, str]:
    source = folder / "src"
    shutil.rmtree(source, ignore_errors=True)
    for name, text in package.items():
        path = source / "moclip" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_ROOT", source)
        for remembered in (module._read_module, module._exists, module._parse):
            remembered.cache_clear()
        found = {name: code_digest(write(folder, f"{name}.py", text)) for name, text in stages.items()}
    for remembered in (module._read_module, module._exists, module._parse):
        remembered.cache_clear()
    return found


def replaced(name: str, old: str, new: str) -> dict[str, str]:
    assert old in PACKAGE[name]
    return {**PACKAGE, name: PACKAGE[name].replace(old, new)}


def test_a_moved_renamed_or_split_module_changes_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests_of(tmp_path, monkeypatch, package=PACKAGE)
    renamed = {("deep/third" if name == "three" else name): text for name, text in PACKAGE.items()}
    renamed |= {"deep/__init__": "", "two": PACKAGE["two"].replace("moclip.three", "moclip.deep.third")}
    assert digests_of(tmp_path, monkeypatch, package=renamed) == before
    head, tail = PACKAGE["two"].split("def slow")
    split = {
        **PACKAGE,
        "two": head.replace("import json\n", ""),
        "four": f"import json\nfrom moclip.two import SIZE, shared\n\n\ndef slow{tail}",
    }
    stages = {**STAGES, "slow": STAGES["slow"].replace("moclip.two", "moclip.four")}
    assert digests_of(tmp_path, monkeypatch, package=split, stages=stages) == before
    through = {**PACKAGE, "five": "from moclip.three import deep\n", "two": PACKAGE["two"].replace(".three", ".five")}
    assert digests_of(tmp_path, monkeypatch, package=through) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("one", '"""One."""', '"""Another docstring."""\n# A comment.'),
        (
            "one",
            "import json\nfrom moclip.two import SIZE, shared\n",
            "from moclip.two import shared, SIZE\nimport json\n",
        ),
        ("two", "import json\nimport math\n", "import math\nimport json\n"),
        ("three", "    return -DEPTH", "    return 2 * DEPTH"),
        ("three", "DEPTH = 7\n", "DEPTH = 7\nOTHER = 8\n"),
    ],
)
def test_an_edit_of_what_no_stage_runs_changes_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    before = digests_of(tmp_path, monkeypatch, package=PACKAGE)
    assert digests_of(tmp_path, monkeypatch, package=replaced(name, old, new)) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("one", "SPEED = 3", "SPEED = 4", {"fast"}),
        ("three", "DEPTH = 7", "DEPTH = 8", {"fast", "slow"}),
        ("two", "return shared(x) - ", "return shared(x) + ", {"slow"}),
        ("two", "import math\n", "import cmath as math\n", {"fast", "slow"}),
        ("one", "import json\n", "import simplejson as json\n", {"fast"}),
    ],
)
def test_an_edited_definition_changes_the_digests_of_the_stages_that_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, old: str, new: str, changed: set[str]
) -> None:
    before = digests_of(tmp_path, monkeypatch, package=PACKAGE)
    after = digests_of(tmp_path, monkeypatch, package=replaced(name, old, new))
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_two_definitions_of_one_name_count_and_so_does_which_of_them_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {
        "__init__": "",
        "a": "def pick():\n    return 1\n",
        "b": "def pick():\n    return 2\n",
        "c": "from moclip.a import pick\n\n\ndef first():\n    return pick()\n",
        "d": "from moclip.b import pick\n\n\ndef second():\n    return pick()\n",
    }
    stages = {"both": "from moclip.c import first\nfrom moclip.d import second\n\nfirst() + second()\n"}
    digests = [digests_of(tmp_path, monkeypatch, package=package, stages=stages)]
    edits = [("b", "2", "3"), ("a", "1", "2"), ("d", "moclip.b", "moclip.a")]
    for name, old, new in edits:
        edited = {**package, name: package[name].replace(old, new)}
        digests.append(digests_of(tmp_path, monkeypatch, package=edited, stages=stages))
    swapped = {**package, "c": package["d"].replace("second", "first"), "d": package["c"].replace("first", "second")}
    digests.append(digests_of(tmp_path, monkeypatch, package=swapped, stages=stages))
    assert len({digest["both"] for digest in digests}) == len(digests)


def test_the_digest_of_definitions_does_not_change_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "src"
    (source / module.PACKAGE).mkdir(parents=True)
    for name, text in (("one", "import json\n\n\ndef f():\n    return json\n"), ("two", "SIZE = 2\n")):
        write(source / module.PACKAGE, f"{name}.py", text)
    write(source / module.PACKAGE, "three.py", "import json\n\nSIZE = 2\n\n\ndef f():\n    return json\n")
    write(source / module.PACKAGE, "four.py", "import json\n\nSIZE = 3\n\n\ndef f():\n    return json\n")
    monkeypatch.setattr(module, "_ROOT", source)
    module._read_module.cache_clear()
    apart, together, edited = (
        module.definitions_digest(f"{module.PACKAGE}.{name}" for name in names)
        for names in (("one", "two"), ("three",), ("four",))
    )
    module._read_module.cache_clear()
    assert apart == together != edited


def test_a_package_that_is_imported_whole_counts_with_all_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {
        "whole": "import importlib\nfrom moclip import kinds\n\nimportlib.import_module(f'{kinds.__name__}.a')\n",
        "one": "from moclip.kinds.b import deep\n\ndeep(1)\n",
    }
    package = {"__init__": "", "kinds/__init__": "", "kinds/a": "X = 1\n", "kinds/b": "def deep(x):\n    return x\n"}
    before = digests_of(tmp_path, monkeypatch, package=package, stages=stages)
    edited = digests_of(tmp_path, monkeypatch, package={**package, "kinds/a": "X = 2\n"}, stages=stages)
    added = digests_of(tmp_path, monkeypatch, package={**package, "kinds/c": "Y = 2\n"}, stages=stages)
    assert before["one"] == edited["one"] == added["one"]
    assert len({before["whole"], edited["whole"], added["whole"]}) == 3
