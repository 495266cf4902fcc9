"""What the report shows, that it needs nothing from outside, and that no name can break it."""

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from moclip.config.methods import METHODS
from moclip.core.images import jpeg_uri
from moclip.errors import DatasetError
from moclip.evaluation.comparisons import write_contests
from moclip.evaluation.evaluate import evaluate_run, write_metrics, write_predictions
from moclip.evaluation.predictions import RunFile
from moclip.evaluation.scoring import MethodLogits
from moclip.evaluation.summary import RunResults, build_summary, write_summary
from moclip.report.datacard_page import build_card
from moclip.report.mistakes import find_mistakes, fit_pictures, read_predictions
from moclip.report.results import (
    ReportNetwork,
    ReportRun,
    ReportTables,
    build_report,
    read_results,
)
from moclip.report.sections import describe_tiles

OBJECTS = ("star", "disc", "cross", "arrow")
MOTIONS = ("left and right", "up and down", "circle")
NAMES = tuple(f"{thing} {motion}" for thing in OBJECTS for motion in MOTIONS)
EVIL = ('<script>alert("1")</script>', "a & b", "\" onload='x'", "</svg><b>", *NAMES[4:])
# How often each method names a class right, and what it confuses it with.
SKILL = {
    "zero_shot": 0.3,
    "zero_shot_head": 0.5,
    "motion": 0.33,
    "motion_head": 0.35,
    "appearance": 0.36,
    "shuffled_motion": 0.37,
    "score_fusion": 0.7,
    "fusion": 0.94,
}
MACS = {"zero_shot": 300, "motion": 70, "motion_head": 71, "appearance": 301}
VOID = {"meta", "link", "br", "img"}


def _logits(rng, truth, *, method: str, num_classes: int) -> np.ndarray:
    logits = rng.normal(size=(len(truth), num_classes))
    kin = 3 if method.startswith("motion") else 1
    rows = range(len(truth))
    right = rng.random(len(truth)) < SKILL[method] * (0.75 + 0.5 * (truth % 4) / 4)
    mixed = (truth + kin * rng.integers(1, 3, len(truth))) % num_classes
    logits[rows, np.where(right, truth, mixed)] += 5
    return logits.astype(np.float32)


def _write_table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), dialect="excel-tab", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return path


def _curve(rng, *, epochs: int, top: float) -> list[dict]:
    share = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 5))
    noise = rng.normal(scale=0.015, size=(3, epochs))
    return [
        {
            "epoch": epoch + 1,
            "train_loss": f"{2.4 * (1 - (0.6 + 0.35 * top) * share[epoch]) + abs(noise[0, epoch]):.6f}",
            "val_loss": f"{2.4 * (1 - 0.8 * top * share[epoch]) + abs(noise[1, epoch]):.6f}",
            "val_top_1": f"{np.clip(top * share[epoch] + noise[2, epoch], 0, 1):.6f}",
        }
        for epoch in range(epochs)
    ]


def write_tables(folder: Path, *, runs: list[ReportRun], manifest: list[dict]) -> ReportTables:
    """Write the tables over all runs as the workflow does; costs are made up."""
    columns = {"fingerprint": "f" * 32, "shard": 0}
    order = ("video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard")
    rows = [
        {name: {**columns, "path": f"{row['video_id']}.mp4", **row}[name] for name in (*order, "split_1")}
        for row in manifest
    ]
    with (folder / "manifest.tsv").open("w", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, line)) + "\n" for line in (rows[0], *(row.values() for row in rows)))
    tables = ReportTables(
        **{name: folder / f"{name}.tsv" for name in ("summary", "comparisons", "gains", "costs")},
    )
    places = [
        RunFile(experiment=run.experiment, split=run.split, seed=run.seed, path=run.metrics.parent / "predictions.tsv")
        for run in runs
    ]
    write_contests(
        tables.comparisons,
        gains=tables.gains,
        predictions=places,
        manifest=folder / "manifest.tsv",
        rejected_test_videos="wrong",
    )
    costs = [
        {
            "experiment": experiment,
            "method": method,
            "trained_parameters": 1000 * (method != "motion"),
            "total_parameters": 100_000,
            "macs": 1_000_000 * MACS.get(method, 371) * number,
            "motion_processor_ms": 21.5 if "motion" in METHODS[method].streams else "",
            "motion_embedding_processor_ms": 60.0 if "motion" in METHODS[method].streams else "",
            "appearance_processor_ms": 48.25 * number
            if "appearance" in METHODS[method].streams and number == 1
            else "",
            "cache_bytes": 40_000,
        }
        for number, experiment in enumerate(dict.fromkeys(run.experiment for run in runs), start=1)
        for method in SKILL
    ]
    _write_table(tables.costs, costs)
    return tables


def make_report(folder: Path, *, mistakes=None, links=None, **changes) -> str:
    """A report on made-up runs."""
    return build_report("demo", **made_request(folder, **changes), mistakes=mistakes, links=links)


PROVENANCE = {
    "moclip": "0.1.0",
    "commit": "3f2c1ab",
    "commands": ["snakemake --cores 2"],
    "versions": {"numpy": "2.4.6", "torch": "2.15.0"},
    "encoders": {"appearance": "local-dir:resources/demo-clip", "motion": "random start"},
    "configuration": {"dataset": {"name": "demo"}, "head": {"mlp": {"learning_rate": 0.001}}},
}


def made_request(
    folder: Path,
    *,
    names: tuple[str, ...] = NAMES,
    grids: dict[str, tuple[list[int], list[int]]] | None = None,
    videos_per_class: int = 12,
    num_tests: int | None = None,
    rejected: tuple[str, ...] = ("v0001", "v0007"),
    networks: list[ReportNetwork] | None = None,
    **changes,
) -> dict:
    """All that `build_report` asks for, of made-up runs like those of a real data set in every shape."""
    rng = np.random.default_rng(7)
    truth = np.sort(np.arange(num_tests or len(names) * videos_per_class) % len(names))
    ids = [f"v{index:04d}" for index in range(len(truth))]
    runs: list[ReportRun] = []
    trained: list[ReportNetwork] = []
    for experiment, (splits, seeds) in (grids or {"fusion": ([1], [0, 1, 2])}).items():
        for split in splits:
            fixed = _logits(rng, truth, method="zero_shot", num_classes=len(names))
            for seed in seeds:
                logits = {method: _logits(rng, truth, method=method, num_classes=len(names)) for method in SKILL}
                place = folder / experiment / f"split-{split}" / f"seed-{seed}"
                _write_result(
                    place, {**logits, "zero_shot": fixed}, truth=truth, ids=ids, names=names, rejected=rejected
                )
                history = _write_table(place / "history.tsv", _head_curves(rng, seed=seed))
                metrics = place / "metrics.json"
                run = ReportRun(experiment=experiment, split=split, seed=seed, metrics=metrics, history=history)
                network = _write_table(place / "network.tsv", _curve(rng, epochs=12, top=0.4))
                runs.append(run)
                trained.append(ReportNetwork(variant="tiny", split=split, seed=seed, history=network))
    manifest = _list_videos(ids, truth=truth, names=names, splits=sorted({run.split for run in runs}))
    rows = build_summary(
        [
            RunResults(
                experiment=run.experiment,
                split=run.split,
                seed=run.seed,
                metrics=run.metrics,
                predictions=run.metrics.with_name("predictions.tsv"),
            )
            for run in runs
        ],
        groups={row["video_id"]: row["group"] for row in manifest},
        leave_out=False,
    )
    write_summary(folder / "summary.tsv", rows=rows)
    reject = {"stage": "motion", "variant": "original", "reason": "no_motion_vectors"}
    card = build_card("demo", manifest=manifest, variants=(), alarm_rate=0.01)
    (folder / "datacard.json").write_text(json.dumps(card))
    results = read_results(
        tables=write_tables(folder, runs=runs, manifest=manifest),
        runs=runs,
        networks=trained if networks is None else networks,
        datacard=folder / "datacard.json",
    )
    request = {
        "results": results,
        "manifest": manifest,
        "rejects": [{"video_id": video_id, **reject, "detail": "codec vp9 exports none"} for video_id in rejected],
        "provenance": PROVENANCE,
    }
    return {**request, **changes}


def _write_result(place: Path, logits, *, truth, ids, names, rejected) -> None:
    """Write metrics and predictions of a run, whose rejected videos have no scores of motion."""
    reasons = dict.fromkeys(rejected, "no_motion_vectors")
    kept = [video_id not in reasons for video_id in ids]
    methods = {
        method: MethodLogits(
            video_ids=tuple(np.array(ids)[kept]) if "motion" in METHODS[method].streams else tuple(ids),
            logits=values[kept] if "motion" in METHODS[method].streams else values,
        )
        for method, values in logits.items()
    }
    result = evaluate_run(
        methods,
        test_ids=ids,
        class_index=truth,
        class_names=names,
        training_classes=truth,
        rejected=reasons,
        rejected_test_videos="wrong",
        encoders={"motion": "from random start", "appearance": "trained", "text": "trained"},
    )
    write_metrics(place / "metrics.json", result=result)
    write_predictions(place / "predictions.tsv", result=result)


def _head_curves(rng, *, seed: int) -> list[dict]:
    return [
        {"seed": seed, "head": head, **row, "chosen": int(row["epoch"] == 30 + seed)}
        for head in ("fusion", "appearance")
        for row in _curve(rng, epochs=40, top=SKILL[head])
    ]


def _list_videos(ids, *, truth, names, splits: list[int]) -> list[dict]:
    subsets = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    return [
        {
            "video_id": video_id,
            "class_name": names[truth[index]],
            "class_index": int(truth[index]),
            "group": f"c{truth[index]}g{index % 6:02d}",
            **{f"split_{split}": subsets[(index + split) % 12] for split in splits},
        }
        for index, video_id in enumerate(ids)
    ]


class Page(HTMLParser):
    """Every tag with its attributes, all text, and a check that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return make_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_tag_is_closed_in_the_order_it_was_opened(page):
    assert page.tags[0][0] == "html"


def test_nothing_is_fetched_and_only_the_script_of_the_page_runs(page, html):
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")]
        assert (attributes.get("href") or "#").startswith("#")
        assert "url(" not in (attributes.get("style") or "")
    policies = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    plain = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert policies == [f"{plain}; script-src 'sha256-{digest}'"]
    assert not re.search(r"fetch\(|XMLHttpRequest|import|http", script)


def test_the_style_sheet_fetches_nothing_and_knows_light_dark_and_phones(html):
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert not re.search(r"url\(|@import|http", style)
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 640px" in style


def test_links_inside_the_page_lead_somewhere(page):
    targets = {attributes.get("id") for _, attributes in page.tags}
    links = [a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")]
    assert links
    assert set(links) <= targets


def test_other_pages_are_linked_to_by_names_that_are_shown_and_not_obeyed(tmp_path, page):
    links = {"Motion pictures": "motion_pictures/tiny.html", EVIL[0]: "other.html"}
    linked = Page(make_report(tmp_path, links=links))
    assert [a["href"] for tag, a in linked.tags if tag == "a" and a["href"][0] != "#"] == [*links.values()]
    assert not [a["href"] for tag, a in page.tags if tag == "a" and a["href"][0] != "#"]
    assert f"Motion pictures{EVIL[0]}" in linked.text


def test_names_with_markup_are_shown_and_not_obeyed(tmp_path):
    rejects = [
        {"video_id": EVIL[0], "stage": EVIL[1], "variant": EVIL[2], "reason": EVIL[3], "detail": "<i>" + EVIL[0]}
    ]
    html = make_report(tmp_path, names=EVIL, rejects=rejects, provenance={"<u>": EVIL[0], "list": [EVIL[2]]})
    page = Page(html)
    tags = [tag for tag, _ in page.tags]
    assert not {"b onload", "i>", "u"} & set(tags)
    assert tags.count("script") == 1
    assert not [attributes for _, attributes in page.tags if "onload" in attributes]
    for name in EVIL[:4]:
        assert name in page.text


def test_the_table_shows_what_the_summary_says(page, tmp_path):
    make_report(tmp_path)
    with (tmp_path / "summary.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, dialect="excel-tab") if row["split"] == "all"]
    for row in rows:
        assert f"{100 * float(row['top_1']):.1f}" in page.text
    fusion, zero_shot = (next(row for row in rows if row["method"] == name) for name in ("fusion", "zero_shot"))
    assert f"± {100 * float(fusion['top_1_ci95']):.1f}" in page.text
    assert zero_shot["top_1_ci95"] == ""


def test_coverage_rejects_and_their_reasons_are_told(page):
    assert "98.6" in page.text  # 142 of 144 test videos
    assert "no_motion_vectors" in page.text
    assert "the codec wrote none" in page.text
    assert "counts as wrong" in page.text
    assert "2 videos left out" in page.text


def test_encoders_that_need_a_mark_are_marked_at_the_top_and_in_the_table(page):
    assert page.text.count("motion from random start") >= 3
    assert "Read with care" in page.text


def test_the_order_of_runs_is_that_of_the_call_and_equal_inputs_give_equal_pages(html, tmp_path):
    assert make_report(tmp_path) == html


def test_the_order_of_the_keys_of_the_configuration_changes_nothing(tmp_path):
    config = {"head": {"mlp": {"epochs": 1}}, "dataset": {"name": "demo", "root": "videos"}}
    other = {key: dict(reversed(value.items())) for key, value in reversed(config.items())}
    one, two = (make_report(tmp_path, provenance={"configuration": entry}) for entry in (config, other))
    assert one == two


def test_every_class_has_a_row_in_the_chart_and_in_the_table(page, html):
    chart = html[html.index('<svg class="chart classes"') :].split("</svg>")[0]
    for name in NAMES:
        assert f">{name}</text>" in chart
        assert f'<th scope="row">{name}</th>' in html
    assert chart.count("<title>") == 4 * len(NAMES)


def test_three_splits_and_several_experiments_have_their_tables(tmp_path):
    page = Page(make_report(tmp_path, grids={"fusion": ([1, 2, 3], [0, 1]), "longer": ([1, 2, 3], [0])}))
    assert "Each split" in page.text
    assert "3 \N{MULTIPLICATION SIGN} 2" in page.text
    sections = [a for tag, a in page.tags if tag == "details" and a.get("class") == "experiment"]
    assert ["open" in attributes for attributes in sections] == [True, False]


def test_no_rejects_no_networks_and_one_run_still_make_a_page(tmp_path):
    html = make_report(tmp_path, grids={"one": ([1], [0])}, rejected=(), networks=[], provenance={})
    page = Page(html)
    assert "every stage has features of every video" in page.text
    assert "Motion networks" not in page.text


def test_the_report_of_ucf101_stays_below_15_megabytes(tmp_path):
    # 101 classes, 3,783 test videos, every method, three seeds, and as many mistakes as can be asked for, each with a
    # picture of random noise: no JPEG of that size is larger.
    names = tuple(f"ClassOfALongName{index:03d}" for index in range(101))
    make_report(tmp_path, names=names, grids={"main": ([1], [0, 1, 2])}, num_tests=3783)
    predictions = [tmp_path / f"main/split-1/seed-{seed}/predictions.tsv" for seed in (0, 1, 2)]
    rng = np.random.default_rng(0)
    picture = jpeg_uri(rng.integers(0, 255, (360, 480, 3), dtype=np.uint8))
    found = find_mistakes([read_predictions(path) for path in predictions], experiment="main", number=200)
    shown = fit_pictures(found, drawn={one["video_id"]: {"picture": picture} for one in found["shown"]})
    assert 20 < len(shown["shown"]) < 200
    html = make_report(tmp_path, names=names, grids={"main": ([1], [0, 1, 2])}, num_tests=3783, mistakes=shown)
    assert html.count("<img ") == len(shown["shown"])
    assert f"Shown: {len(shown['shown'])} of {found['num_wrong']:,}" in html
    assert len(html.encode()) < 15_000_000


def rows_of(html: str, *, table: str) -> list[dict[str, str]]:
    """The rows of a table of a page as text by heading."""
    found = html[html.index(f'<table id="{table}"') :].split("</table>", maxsplit=1)[0]
    lines = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)
        for line in re.findall(r"<tr>.*?</tr>", found, re.DOTALL)
    ]
    plain = [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in line] for line in lines]
    return [dict(zip(plain[0], line, strict=True)) for line in plain[1:]]


def test_top_5_is_hidden_below_six_classes_and_shown_from_six_on(tmp_path):
    few = make_report(tmp_path / "few", names=NAMES[:5])
    assert "Top-5 %" not in rows_of(few, table="all-results")[0]
    assert "Top-5 is not shown" in few
    assert "Top-5 %" in rows_of(make_report(tmp_path / "six", names=NAMES[:6]), table="all-results")[0]


def test_chance_and_an_interval_over_groups_stand_next_to_every_top_1(tmp_path):
    # 3 + 3 + 3 + 2 + 2 videos: always naming the most frequent of five classes is right for 3 of 13.
    html = make_report(tmp_path / "few", names=NAMES[:5], num_tests=13)
    assert {row["Chance %"] for row in rows_of(html, table="all-results")} == {"20.0 / 23.1"}
    assert "chance is 20.0\N{NO-BREAK SPACE}% (uniform) or 23.1\N{NO-BREAK SPACE}%" in html
    for row in rows_of(make_report(tmp_path / "many"), table="all-results"):
        interval, groups = re.fullmatch(r"([\d.]+ to [\d.]+) \((\d+) groups\)", row["95 % over test groups"]).groups()
        low, high = map(float, interval.split(" to "))
        assert low < float(row["Top-1 %"].split()[0]) < high
        # 72 groups of two videos: about the width of a binomial interval of 72 to 144 videos.
        assert (int(groups), 4 < high - low < 24) == (72, True)


def test_what_limits_the_numbers_is_said_once_at_the_top(tmp_path):
    request = made_request(tmp_path, names=NAMES[:6], videos_per_class=4, grids={"main": ([1], [0])}, rejected=())
    leak = {"label": "GOP length", "variant": "", "accuracy": 0.5, "chance": 1 / 6}
    few = {"num_groups": 7, "top_1_groups_low": None, "top_1_groups_high": None}
    rows = [replace(row, ece=0.3, **few) for row in request["results"].rows]
    results = replace(request["results"], rows=rows, card={**request["results"].card, "leaks": [leak]})
    html = build_report("demo", **{**request, "results": results})
    top = html.split("<nav>")[0]
    for words in (
        "motion from random start",
        "one seed: how much the results vary from training to training is not known",
        "only 24 test videos: one video is 4.2 points",
        "the test videos are from 7 groups, too few for an interval over groups",
        "GOP length alone predicts the class of 50.0\N{NO-BREAK SPACE}% of the videos",
        "test calibration error 30.0\N{NO-BREAK SPACE}%",
    ):
        assert top.count(words) == 1, words
    assert top.count("<li>") == 6
    assert {row["95 % over test groups"] for row in rows_of(html, table="all-results")} == {"\N{EN DASH} (7 groups)"}


def test_nothing_to_take_care_of_leaves_no_box(tmp_path):
    request = made_request(tmp_path)
    rows = [replace(row, ece=0.01, encoder_note="") for row in request["results"].rows]
    assert "Read with care" not in build_report(
        "demo", **{**request, "results": replace(request["results"], rows=rows)}
    )


@pytest.mark.parametrize(
    ("bounds", "style"),
    [(("-0.01", "0.09"), ""), (("", ""), ""), (("0.01", "0.09"), "gain"), (("-0.09", "-0.01"), "loss")],
)
def test_a_difference_has_a_color_only_if_its_interval_is_without_0(tmp_path, bounds, style):
    results = made_request(tmp_path)["results"]
    rows = [
        replace(row, top_1={"fusion": 0.5, "appearance": 0.5 - 0.042 * (-1) ** (style == "loss")}.get(row.method, 0))
        for row in results.rows
    ]
    comparisons = [
        {**row, "low": bounds[0], "high": bounds[1]}
        if row["other_method"] == "appearance" and row["split"] == "all"
        else row
        for row in results.comparisons
    ]
    tile = describe_tiles(rows, comparisons=comparisons)[2]
    assert (tile["style"], "may be chance" in tile["words"]) == (style, style == "")
    assert "6 videos of 144" in tile["words"]


def test_the_best_value_of_each_column_is_marked_not_the_row_of_a_winner(tmp_path):
    request = made_request(tmp_path)
    rows = [replace(row, ece={"motion": 0.01}.get(row.method, 0.2)) for row in request["results"].rows]
    html = build_report("demo", **{**request, "results": replace(request["results"], rows=rows)})
    lines = html[html.index('<table id="all-results"') :].split("</table>")[0].split("</tr>")
    marked = {
        re.search('class="text">([^<]*)', line)[1]: re.findall(r'class="best" data-value="([^"]*)"', line)
        for line in lines[1:-1]
    }
    assert len(marked["Fusion"]) == 3
    assert marked["Motion"] == ["1.0"]
    assert not any(own for method, own in marked.items() if method not in ("Fusion", "Motion"))


def test_a_file_without_epochs_is_named(tmp_path):
    (tmp_path / "broken.tsv").write_text("a\tb\n1\t2\n")
    network = ReportNetwork(variant="tiny", split=1, seed=0, history=tmp_path / "broken.tsv")
    with pytest.raises(DatasetError, match=r"broken\.tsv.*`epoch`"):
        make_report(tmp_path, networks=[network])
