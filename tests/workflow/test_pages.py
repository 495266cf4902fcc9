"""Every page of a finished project in a browser: nothing fetched, no complaint, every picture shown, tables usable."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moclip.report.mistakes import find_mistakes
from tests.unit.report.test_mistakes import make_mistakes, row
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
  for (const chart of document.querySelectorAll("svg.chart")) {
    const kind = [...chart.classList].pop(), own = charts[kind] ??= {number: 0, empty: 0, crossed: 0, smallest: 99};
    const marks = chart.querySelectorAll("circle, rect, polyline, polygon, path:not(.grid):not(.zero)").length;
    own.number += 1;
    own.empty += !(marks && chart.getBoundingClientRect().width > 100 && chart.getBBox().height > 5);
    own.crossed += crossed(chart);
    const texts = [...chart.querySelectorAll("text:not([transform])")].map(text => text.getBoundingClientRect().height);
    if (kind !== "heatmap") own.smallest = Math.min(own.smallest, ...texts);
  }
  // A label is cut off where a parent that clips ends, or where the page does.
  const cut = [];
  for (const text of document.querySelectorAll("svg.chart text")) {
    const box = text.getBoundingClientRect();
    for (let one = text.parentElement; one; one = one.parentElement) {
      if (getComputedStyle(one).overflowX === "visible" || one.classList.contains("scroll")) continue;
      const frame = one.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1) cut.push([text.textContent, one.tagName]);
    }
    if (!text.closest(".scroll") && (box.left < -1 || box.right > innerWidth + 1)) cut.push([text.textContent, "page"]);
  }
  document.title = JSON.stringify({cut,
    images: [...document.images].map(image => image.complete && image.naturalWidth > 0)
      .concat([...document.querySelectorAll("svg image")].map(image => image.getBBox().width > 0)),
    charts, window: innerWidth, page: document.documentElement.scrollWidth});
  parent.postMessage(document.title, "*");
});</script>"""
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
CHARTS = {"reliability", "intervals", "gains", "scatter", "heatmap", "classes", "curves"}


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


def open_page(
    browser: str, page: Path, *, folder: Path, width: int = 1200, options: Sequence[str] = ()
) -> tuple[str, str, list[str]]:
    """Return the page as the browser made it, what it logged, and every address that it asked the network for."""
    net_log = folder / "net.json"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += ["--no-first-run", "--disable-component-update", "--disable-background-networking", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net_log}", f"--window-size={width},4000"]
    command += [*options, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr, list_addresses(json.loads(net_log.read_text()))


def read_title(dom: str) -> Any:
    """Return the JSON that a script of a test left in the title of the page."""
    return json.loads(unescape(re.search(r"<title>(.*?)</title>", dom, flags=re.DOTALL).group(1)))  # type: ignore[union-attr]


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
    found: dict[str, Any] = read_title(dom)
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


# Sorts, filters and copies as a reader does, and puts the result into the title.
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
  choose("all-results", "Method", "Fusion");
  found.filtered = column(1);
  choose("all-results", "Experiment", "main");
  found.both = column(0);
  choose("all-results", "Experiment", "all");
  click(".tools[data-for=all-results]", "Markdown");
  found.markdown = document.querySelector("pre.copied").textContent;
  click(".tools[data-for=all-results]", "LaTeX");
  found.latex = document.querySelector("pre.copied").textContent;
  found.copies = document.querySelectorAll("pre.copied").length;
  const cards = [...document.querySelectorAll("#mistake-cards figure")];
  const shown = () => cards.filter(card => !card.hidden).map(card => card.querySelector("figcaption").textContent);
  choose("mistake-cards", "class", "A");
  found.of_class = shown();
  choose("mistake-cards", "class", "all");
  choose("mistake-cards", "streams", "motion right, appearance wrong");
  found.of_streams = shown();
  choose("mistake-cards", "class", "A");
  found.of_both = shown();
  document.title = JSON.stringify(found);
});</script>"""


def test_results_are_sorted_filtered_and_copied_and_mistakes_filtered(browser: str, tmp_path: Path) -> None:
    rows = [
        {**row(video_id, truth=video_id[0].upper(), said="B" if video_id[0] == "a" else "A", motion=motion),
         "appearance": appearance, "appearance_probability": "0.5"}
        for video_id, motion, appearance in (("a/1", "A", "B"), ("a/2", "B", "A"), ("b/1", "B", "A"))
    ]  # fmt: skip
    mistakes = find_mistakes([rows], experiment="main", number=9)
    page = make_report(tmp_path, grids={"main": ([1], [0, 1]), "other_one": ([1], [0, 1])}, mistakes=mistakes)
    (tmp_path / "page.html").write_text(POLICY.sub(DRIVER, page, count=1))
    dom, log, _ = open_page(browser, tmp_path / "page.html", folder=tmp_path)
    assert "CONSOLE" not in log, log
    found = read_title(dom)
    numbers = {key: [float(cell.split()[0]) for cell in found[key]] for key in ("before", "down", "up")}
    assert numbers["down"] == sorted(numbers["before"], reverse=True) != numbers["before"]
    assert numbers["up"] == sorted(numbers["before"])
    assert found["sort"] == "ascending"
    assert [cell[:6] for cell in found["filtered"]] == ["Fusion", "Fusion"]
    assert found["both"] == ["main"]
    lines = found["markdown"].splitlines()
    assert lines[0].startswith("| Experiment | Method | Top-1 % | 95 % over test groups | Chance % | Top-5 % |")
    assert {line.split(" | ")[0] for line in lines[2:]} == {"| main", "| other_one"}
    assert len({line.count(" | ") for line in lines if "---" not in line}) == 1
    assert found["markdown"].count("**") >= 2
    assert "other\\_one & Fusion" in found["latex"]
    assert "\\toprule" in found["latex"]
    assert "\\textbf{" in found["latex"]
    columns = re.search(r"begin.tabular..(\w+)", found["latex"])[1]  # type: ignore[index]
    assert {line.count(" & ") for line in found["latex"].splitlines() if " & " in line} == {len(columns) - 1}
    assert found["copies"] == 1
    for key, ids in (("of_class", ["a/1", "a/2"]), ("of_streams", ["a/1", "b/1"]), ("of_both", ["a/1"])):
        assert [re.search(r"[ab]/\d", words)[0] for words in found[key]] == ids, key  # type: ignore[index]


# Walks through the page with the keyboard, and computes the contrast of every text with the color behind it.
CHECKER = """<script>addEventListener("load", async () => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, below) => [0, 1, 2].map(k => top[3] * top[k] + (1 - top[3]) * below[k]).concat(1);
  const behind = element => element
    ? over(rgb(getComputedStyle(element).backgroundColor), behind(element.parentElement)) : [255, 255, 255, 1];
  const light = color => color.slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    const is_shown = element.getClientRects().length && !element.closest("script, style, title, svg [style*=page]");
    if (!own || !is_shown) continue;
    const style = getComputedStyle(element), is_svg = element.namespaceURI.endsWith("svg");
    const ground = behind(is_svg ? element.closest("svg").parentElement : element);
    const ink = over(rgb(is_svg ? style.fill : style.color), ground);
    const [low, high] = [light(ink), light(ground)].sort((one, two) => one - two);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 600);
    const words = element.textContent.slice(0, 40);
    if ((high + 0.05) / (low + 0.05) < (large ? 3 : 4.5)) poor.push([element.tagName, words, ink, ground]);
  }
  const dark = getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)";
  const operable = [...document.querySelectorAll("a, button, select, summary, .scroll")];
  const is_reached = one => { one.focus({focusVisible: true}); return document.activeElement === one; };
  const unreached = operable.filter(one => !is_reached(one)).map(one => one.outerHTML.slice(0, 80));
  const unnamed = operable.filter(one => !(one.textContent.trim() || one.getAttribute("aria-label"))).length
    + [...document.querySelectorAll("select")].filter(one => !one.labels.length).length;
  const unringed = operable.filter(one => is_reached(one) && getComputedStyle(one).outlineStyle === "none").length;
  const nameless = document.querySelectorAll("img:not([alt]), img[alt=''], svg:not([aria-label])").length;
  const ids = [...document.querySelectorAll("[id]")].map(one => one.id), doubled = ids.length - new Set(ids).size;
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map(one => +one.tagName[1]);
  const skipped = levels.filter((level, k) => k && level > levels[k - 1] + 1).length;
  document.title = JSON.stringify({poor, dark, unreached, unnamed, unringed, nameless, doubled, skipped,
    language: document.documentElement.lang, operable: operable.length});
});</script>"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_and_everything_works_by_keyboard(browser: str, scheme: str, tmp_path: Path) -> None:
    page = make_report(tmp_path, grids={"main": ([1], [0, 1]), "other": ([1], [0, 1])}, mistakes=make_mistakes())
    (tmp_path / "page.html").write_text(POLICY.sub(lambda _: CHECKER, page, count=1))
    options = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    dom, _, _ = open_page(browser, tmp_path / "page.html", folder=tmp_path, options=options)
    found = read_title(dom)
    assert found["operable"] > 30
    assert found["dark"] == (scheme == "dark")
    assert found["poor"] == []
    assert (found["unreached"], found["unnamed"], found["unringed"]) == ([], 0, 0)
    assert (found["nameless"], found["doubled"], found["skipped"], found["language"]) == (0, 0, 0, "en")


def test_a_pale_text_without_a_name_is_found_out(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html><html><head>{CHECKER}</head><body><p style='color:#999'>pale<img></p></body></html>"
    )
    dom, _, _ = open_page(browser, page, folder=tmp_path)
    assert (len(read_title(dom)["poor"]), read_title(dom)["nameless"], read_title(dom)["language"]) == (1, 1, "")


@pytest.mark.parametrize("family", ["DejaVu Serif", "DejaVu Sans Mono"])
def test_no_label_of_a_chart_is_cut_off_in_another_font(browser: str, family: str, tmp_path: Path) -> None:
    names = tuple(f"appearance of a class {index}" for index in range(12))
    page = make_report(tmp_path, names=names, grids={"main": ([1], [0, 1])})
    (tmp_path / "page.html").write_text(
        page.replace("</style>", f"svg text {{ font-family: '{family}' !important; }}</style>")
    )
    for width in (1400, 400):
        found = probe(browser, tmp_path / "page.html", folder=tmp_path, width=width)
        assert found["page"] <= found["window"]
        assert found["cut"] == []


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
        assert re.search(r'aria-label="[^"]+"|aria-hidden="true"', chart), chart


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
