"""Every page of a finished project in a browser: nothing fetched, no complaint, every picture shown, tables usable."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.unit.report.test_mistakes import make_mistakes
from tests.unit.report.test_results import make_report
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow

# Says of a page what became of each picture and chart, with everything unfolded, which words of a chart lie on one
# another, and whether the page is wider than its window. Put into a copy, since the pages themselves run nothing.
PROBE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  const crossed = chart => {
    const boxes = [...chart.querySelectorAll("text:not([transform])")].map(text => text.getBoundingClientRect());
    const meet = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
      && one.top < other.bottom - 1 && other.top < one.bottom - 1;
    return boxes.filter((one, index) => boxes.slice(index + 1).some(other => meet(one, other))).length;
  };
  const charts = {};
  for (const chart of document.querySelectorAll("svg.chart, svg.heatmap, svg.strip")) {
    const kind = [...chart.classList].pop(), own = charts[kind] ??= {number: 0, empty: 0, crossed: 0, smallest: 99};
    const marks = chart.querySelectorAll("circle, rect, polyline, polygon, path:not(.grid):not(.zero)").length;
    own.number += 1;
    own.empty += !(marks && chart.getBoundingClientRect().width > 100 && chart.getBBox().height > 5);
    if (kind !== "strip") own.crossed += crossed(chart);
    const texts = [...chart.querySelectorAll("text:not([transform])")].map(text => text.getBoundingClientRect().height);
    if (kind !== "heatmap") own.smallest = Math.min(own.smallest, ...texts);
  }
  document.title = JSON.stringify({
    images: [...document.images].map(image => image.complete && image.naturalWidth > 0)
      .concat([...document.querySelectorAll("svg image")].map(image => image.getBBox().width > 0)),
    charts, window: innerWidth, page: document.documentElement.scrollWidth});
  parent.postMessage(document.title, "*");
});</script>"""
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
CHARTS = {"reliability", "intervals", "gains", "scatter", "heatmap", "strip", "curves"}


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


def open_page(browser: str, page: Path, *, folder: Path, width: int = 1200) -> tuple[str, str, list[str]]:
    """Return the page as the browser made it, what it logged, and every address that it asked the network for."""
    net_log = folder / "net.json"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += ["--no-first-run", "--disable-component-update", "--disable-background-networking", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net_log}", f"--window-size={width},4000"]
    command += ["--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr, list_addresses(json.loads(net_log.read_text()))


def list_addresses(net_log: Any) -> list[str]:
    """Return the addresses of all requests of a page in Chromium's own log; data in the page itself is none."""
    kind = net_log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    started = [event["params"] for event in net_log["events"] if event["type"] == kind and "params" in event]
    addresses = [params["url"] for params in started if params.get("initiator", "not an origin") != "not an origin"]
    return [address for address in addresses if not address.startswith(("data:", "chrome"))]


def probe(browser: str, page: Path, *, folder: Path, width: int = 1200) -> dict[str, Any]:
    """Return what the probe says of a page that is `width` px wide (a window cannot be narrow: a frame in it can)."""
    probed, frame = folder / "probed.html", folder / "frame.html"
    probed.write_text(POLICY.sub(PROBE, page.read_text(), count=1))
    frame.write_text(
        '<!doctype html><html><head><meta charset="utf-8"><title>-</title></head><body style="margin:0">'
        "<script>addEventListener('message', event => { document.title = event.data; })</script>"
        f'<iframe src="probed.html" style="border:0;width:{width}px;height:3000px"></iframe></body></html>'
    )
    dom, _, _ = open_page(browser, frame, folder=folder, width=max(width, 600))
    found: dict[str, Any] = json.loads(unescape(re.search(r"<title>(.*?)</title>", dom, flags=re.DOTALL).group(1)))  # type: ignore[union-attr]
    return found


def check_charts(found: dict[str, Any], *, kinds: set[str]) -> None:
    """Pass a page with charts of all kinds, none of them empty, no words on one another, none too small to be read."""
    assert set(found["charts"]) >= kinds
    for kind, chart in found["charts"].items():
        assert (chart["empty"], chart["crossed"]) == (0, 0), (kind, chart)
        assert chart["smallest"] > 10, (kind, chart)
    assert found["page"] <= found["window"]


@pytest.mark.parametrize("name", ["report.html", "datacard.html", "motion_pictures/tiny.html"])
def test_a_page_opens_offline_without_a_complaint(finished: Project, browser: str, name: str, tmp_path: Path) -> None:
    page = finished.results() / name
    _, log, addresses = open_page(browser, page, folder=tmp_path)
    assert addresses == []
    assert "CONSOLE" not in log, log
    assert "Content-Security-Policy" in page.read_text()
    found = probe(browser, page, folder=tmp_path)
    assert found["images"] == [True] * (page.read_text().count("<img ") + page.read_text().count("<image "))
    assert found["images"] or name != "report.html"


@pytest.mark.parametrize("width", [1200, 400])
def test_every_chart_of_the_report_is_there_and_can_be_read(
    finished: Project, browser: str, width: int, tmp_path: Path
) -> None:
    check_charts(probe(browser, finished.results() / "report.html", folder=tmp_path, width=width), kinds=CHARTS)


# Sorts, filters and copies as a reader does, and puts what came of it into the title.
DRIVER = """<script>addEventListener("load", () => {
  const click = (place, words) => [...document.querySelectorAll(place + " button")]
    .find(button => button.textContent.includes(words)).click();
  const choose = (tools, key, words) => {
    const select = document.querySelector(`.tools[data-for=${tools}] select[data-key=${key}]`);
    select.value = words;
    select.dispatchEvent(new Event("change"));
  };
  const column = number => [...document.querySelector("#all-results").tBodies[0].rows]
    .filter(row => !row.hidden).map(row => row.cells[number].textContent.trim());
  const found = {before: column(2)};
  click("#all-results", "Top-1");
  found.down = column(2);
  click("#all-results", "Top-1");
  found.up = column(2);
  found.sort = document.querySelector("#all-results th[aria-sort]").getAttribute("aria-sort");
  choose("all-results", "method", "Fusion");
  found.filtered = column(1);
  click(".tools[data-for=all-results]", "Markdown");
  found.markdown = document.querySelector("pre.copied").textContent;
  click(".tools[data-for=all-results]", "LaTeX");
  found.latex = document.querySelector("pre.copied").textContent;
  found.copies = document.querySelectorAll("pre.copied").length;
  const cards = [...document.querySelectorAll("#mistake-cards figure")];
  choose("mistake-cards", "class", cards[0].dataset.class);
  found.cards = cards.map(card => [card.dataset.class === cards[0].dataset.class, !card.hidden]);
  document.title = JSON.stringify(found);
});</script>"""


def test_results_are_sorted_filtered_and_copied_and_mistakes_filtered(browser: str, tmp_path: Path) -> None:
    page = make_report(tmp_path, grids={"main": ([1], [0, 1]), "other_one": ([1], [0, 1])}, mistakes=make_mistakes())
    (tmp_path / "page.html").write_text(POLICY.sub(DRIVER, page, count=1))
    dom, log, _ = open_page(browser, tmp_path / "page.html", folder=tmp_path)
    assert "CONSOLE" not in log, log
    found = json.loads(unescape(re.search(r"<title>(.*?)</title>", dom, flags=re.DOTALL).group(1)))  # type: ignore[union-attr]
    numbers = {key: [float(cell.split()[0]) for cell in found[key]] for key in ("before", "down", "up")}
    assert numbers["down"] == sorted(numbers["before"], reverse=True) != numbers["before"]
    assert numbers["up"] == sorted(numbers["before"])
    assert found["sort"] == "ascending"
    assert [cell[:6] for cell in found["filtered"]] == ["Fusion", "Fusion"]
    lines = found["markdown"].splitlines()
    assert lines[0].startswith("| Experiment | Method | Top-1 % | Top-5 % |")
    assert [line.split(" | ")[0] for line in lines[2:]] in (["| main", "| other_one"], ["| other_one", "| main"])
    assert found["markdown"].count("**") >= 2
    assert "other\\_one & Fusion" in found["latex"]
    assert "\\toprule" in found["latex"]
    assert "\\textbf{" in found["latex"]
    assert found["copies"] == 1
    assert all(shown == wanted for wanted, shown in found["cards"])
    assert {shown for _, shown in found["cards"]} == {True, False}


def test_a_policy_lets_the_script_of_the_report_run_and_no_other(browser: str, tmp_path: Path) -> None:
    page = make_report(tmp_path, grids={"main": ([1], [0])}, rejected=())
    (tmp_path / "page.html").write_text(page.replace("</body>", "<script>document.title = 'evil'</script></body>"))
    dom, log, _ = open_page(browser, tmp_path / "page.html", folder=tmp_path)
    assert "Copy as Markdown" in dom
    assert "<title>evil" not in dom
    assert "Content Security Policy" in log


@pytest.mark.parametrize("width", [1200, 400])
def test_a_hundred_and_one_classes_crowd_no_chart(browser: str, width: int, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    names = tuple(f"ClassOfALongName{index:03d}" for index in range(101))
    page.write_text(make_report(tmp_path, names=names, grids={"main": ([1], [0, 1]), "other": ([1], [0, 1])}))
    check_charts(probe(browser, page, folder=tmp_path, width=width), kinds=CHARTS)


def test_a_mistake_plays_as_a_loop_and_stands_still_on_request(finished: Project) -> None:
    page = (finished.results() / "report.html").read_text()
    loops = re.findall(r'<img src="data:image/webp;base64,([^"]*)"', page)
    assert loops
    for loop in loops:
        with Image.open(io.BytesIO(base64.b64decode(loop))) as image:
            assert image.n_frames > 1  # type: ignore[attr-defined]
            assert image.info["loop"] == 0
    assert page.count('<source media="(prefers-reduced-motion: reduce)" srcset="data:image/jpeg') == len(loops)


def test_every_picture_and_chart_of_the_report_has_words(finished: Project) -> None:
    page = (finished.results() / "report.html").read_text()
    for image in re.findall(r"<img [^>]*>", page):
        assert re.search(r' alt="[^"]+"', image)
    for chart in re.findall(r"<svg [^>]*>", page):
        assert re.search(r'aria-label="[^"]+"|aria-hidden="true"|^<svg class="\w*" x=', chart), chart


def test_snakemakes_own_report_shows_the_pages_and_tables(finished: Project, browser: str, tmp_path: Path) -> None:
    finished.run("--report", str(tmp_path / "out.html"))
    _, log, addresses = open_page(browser, tmp_path / "out.html", folder=tmp_path)
    assert addresses == []
    # Snakemake's page carries Tailwind in itself, which says that it would rather not be used so.
    assert not [line for line in log.splitlines() if "CONSOLE" in line and "cdn.tailwindcss.com" not in line], log
    text = (tmp_path / "out.html").read_text()
    for words in (
        "all results",
        "summary",
        "methods against each other",
        "costs",
        "data card",
        "tiny, split 1, seed 0",
        "confusion-",
    ):
        assert words in text
    assert "What motion adds to frozen appearance embeddings" in text


def test_the_browser_sees_what_a_page_must_not_do(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><html><head><meta charset="utf-8"><title>bad</title>' + PROBE + "</head><body>"
        '<img src="data:image/png;base64,AAAA"><img src="http://127.0.0.1:9/a.png">'
        '<script>console.error("complaint")</script></body></html>'
    )
    dom, log, addresses = open_page(browser, page, folder=tmp_path)
    assert '"images":[false,false]' in dom
    assert "complaint" in log
    assert addresses == ["http://127.0.0.1:9/a.png"]
