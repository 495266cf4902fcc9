"""A job says why it failed in one line, and keeps the rest in its log."""

import subprocess
import sys
from pathlib import Path

from moclip.core.records import read_record


def run(tmp_path: Path, body: str, *, before: str = "") -> "subprocess.CompletedProcess[str]":
    code = before + "from moclip.core.job import stage\nfrom moclip.errors import DatasetError\n"
    code += "from types import SimpleNamespace\n"
    code += f"job = SimpleNamespace(log=[{str(tmp_path / 'log')!r}], output=[{str(tmp_path / 'out')!r}], "
    code += "rule='r', wildcards={'shard': '3'}, params={'cfg': '1'})\nopen(job.output[0], 'w').write('made')\n"
    code += "with stage(job):\n"
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


def test_a_job_that_succeeds_leaves_a_record_and_a_failed_one_none(tmp_path: Path) -> None:
    assert run(tmp_path, "raise DatasetError('x')").returncode == 2
    assert read_record([str(tmp_path / "out")]) is None
    assert run(tmp_path, "pass").returncode == 0
    record = read_record([str(tmp_path / "out")])
    assert record is not None
    assert (record["rule"], record["params"]) == ("r", {"cfg": "1"})
    assert list(record["outputs"]) == [str(tmp_path / "out")]


def test_the_log_has_lines_and_of_a_progress_bar_its_last_state(tmp_path: Path) -> None:
    body = """import logging, sys
from tqdm import tqdm
for number in tqdm(range(5), desc='videos', mininterval=0):
    if number == 2:
        logging.getLogger('x').info('told')
print('a bar of others\\r 50 %\\r100 %\\ndone')"""
    assert run(tmp_path, body).returncode == 0
    log = (tmp_path / "log").read_text()
    assert "\r" not in log
    assert [line.split()[-1] for line in log.splitlines() if "told" in line] == ["told"]
    assert sum("videos:" in line for line in log.splitlines()) == 1
    assert "videos: 100%" in log
    assert log.endswith("100 %\ndone\n")


def test_a_job_of_minutes_reports_its_progress_on_the_terminal(tmp_path: Path) -> None:
    body = """import time
from moclip.core import job as module
from tqdm import tqdm
for number in tqdm(range(4), desc='videos', mininterval=0):
    time.sleep(0.2)"""
    quick = "import moclip.core.job\nmoclip.core.job.PROGRESS_SECONDS = 0.1\n"
    done = run(tmp_path, body, before=quick)
    lines = done.stderr.splitlines()
    assert len(lines) >= 4
    assert all(line.startswith("r shard=3: ") and line.endswith(" s)") for line in lines)
    assert any("videos:  50%" in line and "2/4" in line for line in lines)
    assert "r shard=3: videos" in (tmp_path / "log").read_text()
    assert "\r" not in done.stderr
