"""Nothing that we read can run: no pickle, no evaluated text, no shell, no archive unpacked. Held over every source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("src", "workflow", "tools", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*")
    if path.suffix in {".py", ".smk"}
)
RULES = [path for path in SOURCES if path.suffix == ".smk"]
# Modules that run what they read, or unpack archives, whose members may lie anywhere and be of any size.
FORBIDDEN_MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
    "zipfile", "tarfile", "gzip", "bz2", "lzma", "zipimport", "runpy", "code",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "shutil.unpack_archive"}
PYTHON = [path for path in SOURCES if path.suffix == ".py"]


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def find_faults(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (
                f"imports {alias.name}" for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES
            )
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in FORBIDDEN_MODULES:
            if {alias.name for alias in node.names} != {"BadZipFile"}:  # numpy's error for a damaged file of arrays
                yield f"imports {node.module}"
        elif isinstance(node, ast.Call):
            yield from _faults_of_call(node)


def _faults_of_call(node: ast.Call) -> Iterator[str]:
    name = name_of(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in FORBIDDEN_CALLS:
        yield f"calls {name}"
    if given.get("shell", "False") != "False":
        yield f"calls {name} with a shell"
    if name.endswith("torch.load") and given.get("weights_only") != "True":
        yield "calls torch.load without weights_only=True"
    if name in {"np.load", "numpy.load"} and given.get("allow_pickle") != "False":
        yield "calls numpy.load without allow_pickle=False"
    if name in {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"}:
        yield f"calls {name}; expected yaml.safe_load"
    if given.get("trust_remote_code", "False") != "False":
        yield f"calls {name} with trust_remote_code"


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_source_runs_or_unpacks_what_it_reads(path: Path) -> None:
    assert not list(find_faults(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_runs_a_shell(path: Path) -> None:
    # An id, a class or a variant is then never a word of a shell.
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.strip().startswith(("shell:", "shell(", "run:"))]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from zipfile import ZipFile",
        "eval(text)",
        "subprocess.run(line, shell=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_check_finds_each_of_them(source: str) -> None:
    assert len(list(find_faults(source))) == 1


def test_every_lock_pins_each_package_with_hashes() -> None:
    for path in sorted(REPOSITORY.glob("requirements*.lock")):
        entries = [
            entry for entry in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
            if entry.strip() and not entry.lstrip().startswith("#")
        ]  # fmt: skip
        assert entries, path
        for entry in entries:
            assert "==" in entry.split(";")[0], f"{path.name}: {entry[:60]} is not pinned"
            assert "--hash=sha256:" in entry, f"{path.name}: {entry[:60]} has no hash"
