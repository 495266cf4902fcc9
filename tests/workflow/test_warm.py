"""The Python of the tests of the workflow that starts at once does what the other does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

SCRIPT = """
import os, sys
from moclip import versions
print(sys.argv[1:], os.getcwd(), os.environ["OWN"], __name__, versions.OWN, sys.stdin.read())
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 3])
def test_it_runs_a_script_as_any_python_does(warm: Path, tmp_path: Path, code: int) -> None:
    package = tmp_path / "own/moclip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "versions.py").write_text("OWN = 'the library of this checkout'\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OWN": "x", "PYTHONPATH": str(tmp_path / "own")}
    done = [
        subprocess.run(
            [str(python), "script.py", str(code)],
            cwd=tmp_path,
            env=environment,
            input="typed",
            capture_output=True,
            text=True,
            check=False,
        )
        for python in (warm, sys.executable)
    ]
    assert [each.returncode for each in done] == [code, code]
    assert done[0].stdout == done[1].stdout
    assert "the library of this checkout" in done[0].stdout


def test_an_error_ends_it_with_its_traceback(warm: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("raise ValueError('wrong')\n")
    done = subprocess.run([str(warm), "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: wrong" in done.stderr


def test_what_runs_dies_with_its_client(warm: Path, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    script = "import time\nwhile True:\n    open('beats', 'a').write('.')\n    time.sleep(0.02)\n"
    (tmp_path / "script.py").write_text(script)
    client = subprocess.Popen([str(warm), "script.py"], cwd=tmp_path)
    while not beats.is_file():
        time.sleep(0.02)
    client.send_signal(signal.SIGKILL)
    client.wait()
    time.sleep(0.2)
    size = beats.stat().st_size
    time.sleep(0.3)
    assert beats.stat().st_size == size
