"""Every page of a finished project in a real browser: nothing fetched, no complaint, every picture shown."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow

# Says of a page, in a list, what became of each picture. Put into a copy, since the pages themselves run nothing.
PROBE = """<script>addEventListener("load", () => { document.title = JSON.stringify(
  [...document.images].map(image => image.complete && image.naturalWidth > 0)
    .concat([...document.querySelectorAll("svg image")].map(image => image.getBBox().width > 0))); });</script>"""


@pytest.fixture(scope="session")
def browser() -> str:
    """A headless Chromium; demanded where CI=true."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "no Chromium on this machine: pages are not looked at"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def open_page(browser: str, page: Path, *, folder: Path) -> tuple[str, str, list[str]]:
    """Return the page as the browser made it, what it logged, and every address that it asked the network for."""
    net_log = folder / "net.json"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += ["--no-first-run", "--disable-component-update", "--disable-background-networking", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net_log}", "--window-size=1200,4000"]
    command += ["--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr, list_addresses(json.loads(net_log.read_text()))


def list_addresses(net_log: Any) -> list[str]:
    """Return the addresses of all requests of a page in Chromium's own log; data in the page itself is none."""
    kind = net_log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    started = [event["params"] for event in net_log["events"] if event["type"] == kind and "params" in event]
    addresses = [params["url"] for params in started if params.get("initiator", "not an origin") != "not an origin"]
    return [address for address in addresses if not address.startswith(("data:", "chrome"))]


@pytest.mark.parametrize("name", ["report.html", "datacard.html", "motion_pictures/tiny.html"])
def test_a_page_opens_offline_without_a_complaint(finished: Project, browser: str, name: str, tmp_path: Path) -> None:
    page = finished.results() / name
    _, log, addresses = open_page(browser, page, folder=tmp_path)
    assert addresses == []
    assert "CONSOLE" not in log, log
    assert "Content-Security-Policy" in page.read_text()
    probed = tmp_path / "probed.html"
    probed.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, page.read_text(), count=1))
    dom, _, _ = open_page(browser, probed, folder=tmp_path)
    shown = json.loads(re.search(r"<title>(.*?)</title>", dom, flags=re.DOTALL).group(1))  # type: ignore[union-attr]
    assert shown == [True] * (page.read_text().count("<img ") + page.read_text().count("<image "))
    assert shown or name != "report.html"


def test_the_browser_sees_what_a_page_must_not_do(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><html><head><meta charset="utf-8"><title>bad</title>' + PROBE + "</head><body>"
        '<img src="data:image/png;base64,AAAA"><img src="http://127.0.0.1:9/a.png">'
        '<script>console.error("complaint")</script></body></html>'
    )
    dom, log, addresses = open_page(browser, page, folder=tmp_path)
    assert "[false,false]" in dom
    assert "complaint" in log
    assert addresses == ["http://127.0.0.1:9/a.png"]
