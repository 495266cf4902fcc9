"""Builds from nothing: the results that a project must have, whatever was done to it before."""

import atexit
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from moclip.core.files import replace_atomically
from tests.results import read_without_times
from tests.workflow.checkout import OUTPUTS, Checkout, Work
from tests.workflow.warm import warm_python

Digests = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of a project, the check of its results and a second run.

    `differ` are the final files that a fresh build has otherwise, and `again` those that still differ after the second
    run. `second` is the work of the second run, None if the first one failed as a fresh build does.
    """

    work: Work
    differ: tuple[str, ...]
    second: Work | None = None
    again: tuple[str, ...] = ()
    failure: str = ""

    @property
    def problems(self) -> list[str]:
        """The problems in a line each."""
        found = [self.failure] if self.failure else []
        if self.differ:
            mended = "; the second run corrects them" if self.second and not self.again else ""
            found.append(f"{_some(self.differ)} differ from a fresh build{mended}")
        if self.again:
            found.append(f"{_some(self.again)} differ after the second run too")
        if self.second and self.second.jobs:
            found.append(f"the second run has work: {show_jobs(self.second.jobs)}")
        return found


class FreshBuilds:
    """Builds of projects in new folders with empty caches, one for each state of the input files.

    They run in a Python of another hash seed, so that the order of a set in a result counts as a difference. With
    MOCLIP_FRESH_BUILDS, which names a folder, they are kept for later runs of the tests.
    """

    def __init__(self) -> None:
        self._opened = ExitStack()
        atexit.register(self._opened.close)

    def start(self) -> None:
        """Prepare the folder and the Python of the builds before threads ask for them."""
        assert self._folder
        assert self._python

    @cached_property
    def _folder(self) -> Path:
        kept = os.environ.get("MOCLIP_FRESH_BUILDS")
        if kept:
            Path(kept).mkdir(parents=True, exist_ok=True)
            return Path(kept)
        return Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="moclip-fresh-")))

    @cached_property
    def _python(self) -> str:
        folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="moclip-python-")))
        return str(self._opened.enter_context(warm_python(folder, hash_seed=2)))

    def digests(self, checkout: Checkout) -> Digests | None:
        """Return the digest of each file of the results of a fresh build, or None if the build fails."""
        name = digest_inputs(checkout)
        path = self._folder / f"{name}.json"
        if not path.is_file():
            found = self._build(checkout, folder=Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._folder)))
            with replace_atomically(path) as temporary:
                temporary.write_text(json.dumps(found))
        return json.loads(path.read_text())  # type: ignore[no-any-return]

    def _build(self, checkout: Checkout, *, folder: Path) -> Digests | None:
        # As deep as a project, so that a relative `cache_dir` above it is empty too.
        fresh = replace(checkout, folder=folder / "build", python=self._python)
        outputs = shutil.ignore_patterns(*OUTPUTS)
        shutil.copytree(checkout.code, fresh.code)
        shutil.copytree(checkout.project, fresh.project, ignore=outputs, copy_function=shutil.copyfile)
        work = fresh.run(check=False)
        found = None if work.ran.code else digest_results(fresh)
        shutil.rmtree(folder)
        return found


FRESH = FreshBuilds()


def digest_inputs(checkout: Checkout) -> str:
    """Return a digest of the bytes of every file that a fresh build reads; times do not count."""
    checkout.write_config()
    digest = blake2b(digest_size=16)
    for root in (checkout.code, checkout.project):
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and "__pycache__" not in parts and not (root == checkout.project and parts[0] in OUTPUTS):
                content = blake2b(path.read_bytes(), digest_size=16).hexdigest()
                digest.update(f"{'/'.join(parts)}\0{content}\n".encode())
    return digest.hexdigest()


def digest_results(checkout: Checkout) -> Digests:
    """Return the digest of each file of the results, without what a clock measured."""
    found = {}
    for path in sorted(checkout.results.rglob("*")):
        if path.is_file() and not path.name.startswith("."):  # records hold the times and places of files
            content = read_without_times(path)
            found[path.relative_to(checkout.results).as_posix()] = blake2b(content, digest_size=16).hexdigest()
    return found


def compare(checkout: Checkout) -> tuple[str, ...]:
    """Return the final files of the present configuration that are missing or have other bytes in a fresh build.

    Files that an earlier configuration left behind are no outputs of the present one.
    """
    expected = FRESH.digests(checkout) or {}
    found = digest_results(checkout)
    return tuple(sorted(name for name in expected if found.get(name) != expected[name]))


def look_at_step(checkout: Checkout, *, cores: int = 2) -> Step:
    """Run the workflow, compare its results with a fresh build, run it again, and return what was seen."""
    work = checkout.run(check=False, cores=cores)
    fails = FRESH.digests(checkout) is None
    if work.ran.code or fails:
        problem = (
            "" if work.ran.code and fails else f"exit {work.ran.code}, a fresh build {'fails' if fails else 'ends'}"
        )
        tail = f": ... {work.ran.output[-1500:]}" if problem and work.ran.code else ""
        return Step(work=work, differ=(), failure=problem + tail)
    differ = compare(checkout)
    second = checkout.run(check=False, cores=cores)
    failure = f"the second run ends with {second.ran.code}: {second.ran.output[-1500:]}" if second.ran.code else ""
    return Step(
        work=work, differ=differ, second=second, again=compare(checkout) if second.jobs else differ, failure=failure
    )


def check_step(checkout: Checkout, *, cores: int = 2) -> Work:
    """Run the workflow and return its work, after the two checks that every step of every test makes.

    Every final file that the present configuration asks for must equal that of a fresh build, byte for byte, and a
    second run must start no job.
    """
    step = look_at_step(checkout, cores=cores)
    problems = step.problems
    assert not problems, "\n".join([*problems, f"jobs of the run: {show_jobs(step.work.jobs)}"])
    return step.work


def show_jobs(jobs: dict[str, int]) -> str:
    """Return the number of jobs of each rule in a line, sorted by name."""
    listed = (f"{rule} {count}" if count > 1 else rule for rule, count in sorted(jobs.items()))
    return ", ".join(listed) or "none"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more files" if len(names) > 8 else shown
