"""A job says why it failed in one line, and keeps the rest in its log."""

import subprocess
import sys
from pathlib import Path


def run(tmp_path: Path, body: str) -> "subprocess.CompletedProcess[str]":
    code = "from moclip.stage import stage\nfrom moclip.errors import DatasetError\n"
    code += f"with stage({str(tmp_path / 'log')!r}):\n"
    code += "".join(f"    {line}\n" for line in body.splitlines())
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_a_fault_of_the_user_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run(tmp_path, "raise DatasetError('x.txt: expected a class, found none; name one')")
    assert done.returncode == 2
    assert done.stderr == "error: x.txt: expected a class, found none; name one\n"
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    done = run(tmp_path, "[][1]")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "internal error: IndexError" in done.stderr
    assert "\ninternal error: IndexError" in (tmp_path / "log").read_text()
    assert "Traceback" in (tmp_path / "log").read_text()


def test_what_the_block_prints_goes_to_the_log(tmp_path: Path) -> None:
    done = run(tmp_path, "import logging\nprint('seen')\nlogging.getLogger('x').info('told')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {"seen", "told"} <= set((tmp_path / "log").read_text().split())


def test_sigterm_unwinds_the_block(tmp_path: Path) -> None:
    marker = tmp_path / "unwound"
    body = f"""import os, signal
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    open({str(marker)!r}, "w").close()"""
    assert run(tmp_path, body).returncode == 143
    assert marker.exists()
