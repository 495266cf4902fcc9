"""`moclip draw`, and the page of a data set: what is drawn, what is said of the rest, and that nothing is fetched."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.cli.main import main
from moclip.config.dataset_settings import Dataset
from moclip.config.network_settings import FieldSettings
from moclip.config.settings import MotionVariant, Settings
from moclip.config.validation import check_config
from moclip.dataset.manifest import build_manifest, read_manifest, write_manifest
from moclip.errors import DatasetError
from moclip.extraction.extractor import ShardJob
from moclip.extraction.motion import extract_motion_shard, index_motion
from moclip.motion.fields import FieldSpec, build_field_spec
from moclip.report.draw import choose_videos, write_motion_pictures
from tests.unit.video.test_motion_vectors import encode, pan, render

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """A page: its tags in balance, its pictures, its links, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str]] = []
        self.links: list[str] = []
        self.policy = ""
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert not [name for name in values if name.startswith("on")]
        assert tag not in {"script", "link", "iframe"}
        if tag in {"img", "image"}:
            self.images.append(values)
        if tag == "a":
            self.links.append(values["href"])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "image":
            self.images.append({name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def run(*arguments: str | Path) -> int:
    """The exit code of `moclip draw` with these arguments."""
    try:
        main(["draw", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("videos") / "pan.mp4", render(13, warp=pan(4, 0)), codec="h264")


def test_a_page_holds_all_it_shows_and_lets_nothing_be_fetched(video: Path, tmp_path: Path) -> None:
    assert run(video, "--output", tmp_path / "new/page.html", "--frames", "3") == 0
    text = (tmp_path / "new/page.html").read_text()
    page = Page(text)
    assert page.policy.startswith("default-src 'none'")
    assert not page.links
    # The wheel; and of each frame the picture, the vectors over it, two fields and two codes.
    sources = [image.get("src") or image["href"] for image in page.images]
    assert len(sources) == 1 + 3 * 6
    assert all(re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$", source) for source in sources)
    assert all(image.get("alt") for image in page.images if "src" in image)
    assert "http" not in re.sub(r"http-equiv", "", text)
    for words in (
        "vectors of the file",
        "13 frames at 25 a second",
        "share one scale: 20 px",
        "since frame 0",
        "P picture",
    ):
        assert words in page.text
    assert run(video, "--output", tmp_path / "again.html", "--frames", "3") == 0
    assert (tmp_path / "again.html").read_text() == text


def test_the_options_reach_the_pictures(video: Path, tmp_path: Path) -> None:
    options = ["--window", "4", "--stride", "8", "--compensate-camera", "--source", "transcode", "--at", "7, 2,7"]
    assert run(video, "--output", tmp_path / "page.html", *options) == 0
    page = Page((tmp_path / "page.html").read_text())
    assert re.findall(r"Frame (\d+)", page.text) == ["2", "7"]
    for words in ("over the last 4 frames", "One sample every 8 px", "motion of the camera is taken off", "transcode:"):
        assert words in page.text
    assert [image["width"] for image in page.images if "raw field" in image.get("alt", "")] == ["42", "42"]


def test_a_keyframe_says_that_no_cell_has_a_vector(video: Path, tmp_path: Path) -> None:
    assert run(video, "--output", tmp_path / "page.html", "--at", "0") == 0
    page = Page((tmp_path / "page.html").read_text())
    assert "Frame 0 · I keyframe · 0.000 s · longest vector 0 px · 100 % of the cells have no vector" in page.text


def test_pictures_of_videos_of_one_name_do_not_overwrite_each_other(video: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / video.name
    other.parent.mkdir()
    other.write_bytes(video.read_bytes())
    assert run(video, other, "--png", tmp_path / "png", "--at", "3") == 0
    names = sorted(path.name for path in (tmp_path / "png").iterdir())
    assert len(names) == 1 + 2 * 6
    assert {"wheel.png", "pan-frame-0003-vectors.png", "pan-2-frame-0003-vectors.png"} <= set(names)


def test_a_broken_video_is_named_and_the_others_are_drawn(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "<b>broken.mp4"
    broken.write_bytes(b"no video at all")
    assert run(broken, video, tmp_path / "absent.mp4", "--output", tmp_path / "page.html", "--frames", "1") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: video ") for line in lines] == [True, True]
    assert "broken.mp4: unreadable" in lines[0]
    assert "absent.mp4: missing" in lines[1]
    page = Page((tmp_path / "page.html").read_text())
    assert "<b>broken.mp4: unreadable" in page.text
    assert "absent.mp4: missing" in page.text
    assert len(page.images) == 1 + 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["VIDEO"], "expected --output PAGE.html, --png FOLDER or both"),
        (["VIDEO", "--output", "FOLDER/page.png"], "--output: expected a file that ends in .html"),
        (["VIDEO", "--output", "VIDEO"], "--output: expected a file that ends in .html"),
        (["VIDEO", "--output", "VIDEO/page.html"], "cannot be written"),
        (["VIDEO", "--png", "VIDEO"], "--png: expected a folder"),
        (["VIDEO", "--output", "FOLDER/p.html", "--frames", "0"], "--frames: expected 1 to 100"),
        (["VIDEO", "--output", "FOLDER/p.html", "--frames", "x"], "argument --frames: invalid int value: 'x'"),
        (["VIDEO", "--output", "FOLDER/p.html", "--at", "1,x"], "--at: expected up to 100 frames such as 12,40,80"),
        (["VIDEO", "--output", "FOLDER/p.html", "--at", "5,99"], "expected frames of 0-12, found 99"),
        (["VIDEO", "--output", "FOLDER/p.html", "--at", "5", "--frames", "2"], "not allowed with argument"),
        (["VIDEO", "--output", "FOLDER/p.html", "--window", "-1"], "--window: expected a number of frames"),
        (
            ["VIDEO", "--output", "FOLDER/p.html", "--stride", "3"],
            "argument --stride: expected one of 1, 2, 4, 8; found 3",
        ),
        (["FOLDER/absent.mp4", "--output", "FOLDER/p.html"], "absent.mp4: missing"),
        (["FOLDER", "--output", "FOLDER/p.html"], "unreadable"),
        ([], "the following arguments are required: VIDEO"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    named = [word.replace("VIDEO", str(video)).replace("FOLDER", str(tmp_path)) for word in arguments]
    assert run(*named) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "p.html").exists()


def test_help_waits_for_no_heavy_library() -> None:
    code = "import sys; from moclip.cli.main import build_parser; build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"av", "pandas", "h5py", "PIL", "torch"} & set(done.stdout.split())


def rows_of(**classes: int) -> list[dict[str, Any]]:
    return [
        {"video_id": f"{name}/v{number}", "class_name": name, "class_index": index}
        for index, (name, count) in enumerate(classes.items())
        for number in range(count)
    ]


def test_one_video_of_each_class_is_chosen_before_a_second_one() -> None:
    rows = rows_of(Lunges=9, Archery=2, Diving=5)
    assert [row["class_name"] for row in choose_videos(rows, number=3)] == ["Lunges", "Archery", "Diving"]
    five = [row["class_name"] for row in choose_videos(rows, number=5)]
    assert sorted(five.count(name) for name in ("Lunges", "Archery", "Diving")) == [1, 2, 2]
    assert len({row["class_name"] for row in choose_videos(rows, number=2)}) == 2
    assert len(choose_videos(rows, number=100)) == len(rows)
    # Ids decide and nothing else: the order of the rows plays no part, and another class takes no video away.
    assert choose_videos(rows[::-1], number=5) == choose_videos(rows, number=5)
    chosen = choose_videos([*rows, *rows_of(Lunges=0, Archery=0, Diving=0, Surfing=4)], number=4)
    assert [row for row in chosen if row["class_name"] != "Surfing"] == choose_videos(rows, number=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with a manifest and its motion shards, and the checked configuration."""
    folder = tmp_path_factory.mktemp("dataset")
    for number in range(8):
        for name, dx in (("Left", -4), ("Right", 4)):
            path = folder / "videos" / name / f"v{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            encode(path, render(6, width=96, height=64, warp=pan(dx, number % 3)))
    config = {
        "dataset": {"name": "toy", "layout": "folders", "root": str(folder / "videos"), "num_shards": 2},
        "cache_dir": str(folder / "cache"),
        "motion": {"original": {}},
        "appearance": {},
        "motion_network": {"tiny": {"motion": "original", "backbone": "x", "weights": "none", "field": {"stride": 2}}},
        "head": {},
        "experiments": {"e": {"motion_network": "tiny", "methods": ["motion"]}},
        "report": {"pictures": 3},
    }
    checked = check_config(config).canonical()
    write_manifest(build_manifest(Dataset(**checked["dataset"])), folder / "manifest.tsv")
    for shard in range(2):
        job = ShardJob.from_settings(
            Settings.model_validate(checked), shard=shard, output=folder / f"motion/shard-{shard}.h5"
        )
        extract_motion_shard(job, manifest=folder / "manifest.tsv", variant=MotionVariant())
    index_motion(
        MotionVariant(),
        manifest=folder / "manifest.tsv",
        jobs=ShardJob.list_all(Settings.model_validate(checked), index=folder / "motion/index.json"),
        output=folder / "motion/index.json",
    )
    return folder, checked


def write_page(folder: Path, config: dict[str, Any], output: Path, **changes: Any) -> Page:
    paths = {"manifest": folder / "manifest.tsv", "motion_index": folder / "motion/index.json"}
    write_motion_pictures(
        output, **{**paths, "variant": "tiny", "settings": Settings.model_validate(config), "splits": [1], **changes}
    )
    return Page(output.read_text())


def test_the_page_of_a_data_set_shows_training_videos_only(
    dataset: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, config = dataset
    many = {**config, "report": {**config["report"], "pictures": 100}}
    page = write_page(folder, many, tmp_path / "page.html")
    frame = read_manifest(folder / "manifest.tsv")
    assert {"train", "val", "test"} <= set(frame["split_1"])
    subset = dict(zip(frame["video_id"], frame["split_1"], strict=True))
    shown = re.findall(r"(?:Left|Right)/v\d", page.text)
    assert set(shown) == {video_id for video_id, name in subset.items() if name == "train"}
    assert page.links == ["../report.html"]
    assert "training videos of split 1 only" in page.text
    few = write_page(folder, config, tmp_path / "few.html")
    assert len(few.images) == 1 + 3 * 2 * 6
    assert "One sample every 2 px" in few.text


def test_a_video_that_is_in_the_test_of_another_split_is_not_shown(
    dataset: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, config = dataset
    frame = read_manifest(folder / "manifest.tsv")
    frame["split_2"] = np.where(frame["video_id"].isin(["Left/v0", "Right/v1"]), "train", "test")
    write_manifest(frame, tmp_path / "manifest.tsv")
    changes = {"manifest": tmp_path / "manifest.tsv", "splits": [1, 2]}
    page = write_page(folder, config, tmp_path / "page.html", **changes)
    both = frame[(frame["split_1"] == "train") & (frame["split_2"] == "train")]
    assert set(re.findall(r"(?:Left|Right)/v\d", page.text)) == set(both["video_id"])
    with pytest.raises(DatasetError, match=r"expected split 3, found none"):
        write_page(folder, config, tmp_path / "page.html", splits=[1, 3])


def test_a_video_whose_frames_are_gone_is_named_on_the_page(
    dataset: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, config = dataset
    elsewhere = {**config, "dataset": {**config["dataset"], "root": str(tmp_path)}}
    page = write_page(folder, elsewhere, tmp_path / "page.html")
    assert page.text.count("missing (a list names a file that is not there)") == 3


def test_a_window_of_0_goes_back_to_the_keyframe() -> None:
    field = FieldSettings(kind="raw", window=0, stride=4, compensate_camera=True, upright=True)
    expected = FieldSpec(kind="raw", window=None, stride=4, compensate_camera=True, upright=True)
    assert build_field_spec(field) == expected
    assert build_field_spec(field.model_copy(update={"window": 7})).window == 7
