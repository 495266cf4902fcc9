"""The demo dataset: what lies where, what is balanced, what is kept and what is made again."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image

from moclip.dataset import demo
from moclip.dataset.demo import (
    CLASS_NAMES,
    RENDERED,
    TEST_GROUPS,
    DemoVideo,
    build_demo_dataset,
    build_lists,
    list_demo_videos,
)
from moclip.dataset.demo_rendering import MOTIONS, OBJECTS, build_badge, build_theme, render_still
from moclip.dataset.lists import parse_class_numbers
from moclip.errors import DatasetError

VIDEOS = list_demo_videos()


@pytest.fixture
def few_videos(monkeypatch: pytest.MonkeyPatch) -> tuple[DemoVideo, ...]:
    few = (VIDEOS[0], VIDEOS[1], VIDEOS[-1])
    monkeypatch.setattr(demo, "list_demo_videos", lambda kind: few)
    return few


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def times(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (root / "videos").rglob("*.*")}


def test_classes_are_every_object_under_every_motion() -> None:
    assert len(CLASS_NAMES) == 16
    assert set(CLASS_NAMES) == {a + b for a in OBJECTS for b in MOTIONS}
    assert set(Counter(video.class_name for video in VIDEOS).values()) == {len(VIDEOS) // 16}


def test_codec_says_nothing_of_class_or_group() -> None:
    by_class_and_group = Counter((video.class_name, video.group, video.codec) for video in VIDEOS)
    assert set(by_class_and_group.values()) == {1}
    by_clip = Counter((video.clip, video.codec, video.class_name[-4:]) for video in VIDEOS)  # the end of the motion
    assert len(set(by_clip.values())) == 1


@pytest.mark.parametrize("kind", RENDERED)
@pytest.mark.parametrize("split", TEST_GROUPS)
def test_a_split_keeps_groups_whole_and_shows_every_class_on_both_sides(split: int, kind: str) -> None:
    videos, class_names = list_demo_videos(kind), RENDERED[kind].class_names
    lists = build_lists(videos, class_names=class_names)
    train = [line.split()[0] for line in lists[f"trainlist{split:02d}.txt"].splitlines()]
    test = lists[f"testlist{split:02d}.txt"].splitlines()
    assert sorted(train + test) == sorted(video.path for video in videos)
    assert len(test) >= 96
    assert 0.25 <= len(test) / len(videos) <= 0.35
    group_of = {video.path: video.group for video in videos}
    assert not {group_of[path] for path in train} & {group_of[path] for path in test}
    assert {path.split("/")[0] for path in train} == {path.split("/")[0] for path in test} == set(class_names)


def test_no_video_is_tested_in_two_splits() -> None:
    tested = [line for split in TEST_GROUPS for line in build_lists(VIDEOS)[f"testlist{split:02d}.txt"].splitlines()]
    assert len(tested) == len(set(tested))


def test_the_lists_are_read_as_those_of_ucf101_are() -> None:
    lists = build_lists(VIDEOS)
    assert tuple(parse_class_numbers(lists["classInd.txt"], source="classInd.txt")) == CLASS_NAMES
    path, number = lists["trainlist01.txt"].splitlines()[0].split()
    assert CLASS_NAMES[int(number) - 1] == path.split("/")[0]


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_a_video_is_one_gop_of_its_codec(codec: str, tmp_path: Path) -> None:
    video = next(video for video in VIDEOS if video.codec == codec)
    path = tmp_path / video.path
    demo.write_demo_video(path, video=video, seed=0)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == codec
        frames = list(container.decode(video=0))
    assert demo.NUM_FRAMES[0] <= len(frames) <= demo.NUM_FRAMES[1]
    assert [frame.key_frame for frame in frames].count(True) == 1
    types = {av.video.frame.PictureType(frame.pict_type).name for frame in frames}
    assert types == ({"I", "P", "B"} if codec == "h264" else {"I", "P"})


def test_videos_of_a_group_share_the_place_and_those_of_another_do_not(tmp_path: Path) -> None:
    def corner(video: DemoVideo) -> np.ndarray:
        path = tmp_path / video.path
        demo.write_demo_video(path, video=video, seed=0)
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.mean([frame[:30, :12].mean(axis=(0, 1)) for frame in frames], axis=0)

    first, second = (video for video in VIDEOS if video.class_name == CLASS_NAMES[0] and video.group == 1)
    elsewhere = [video for video in VIDEOS if video.class_name == CLASS_NAMES[0] and video.clip == 1][1:4]
    near = np.abs(corner(first) - corner(second)).max()
    assert near < 15
    assert all(np.abs(corner(first) - corner(video)).max() > 2 * near for video in elsewhere)


@pytest.mark.usefixtures("few_videos")
def test_two_workers_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    build_demo_dataset(tmp_path / "one", seed=3, num_workers=1)
    build_demo_dataset(tmp_path / "two", seed=3, num_workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(times(tmp_path / "one")) == 3


@pytest.mark.usefixtures("few_videos")
def test_what_is_finished_stays_and_what_is_missing_is_made_again(
    few_videos: tuple[DemoVideo, ...], tmp_path: Path
) -> None:
    build_demo_dataset(tmp_path, seed=0, num_workers=1)
    before, stamps = digests(tmp_path), times(tmp_path)
    lost = tmp_path / "videos" / few_videos[1].path
    lost.unlink()
    (lost.parent / ".half-written.avi").write_bytes(b"RIFF")
    build_demo_dataset(tmp_path, seed=0, num_workers=1)
    assert digests(tmp_path) == before
    assert [name for name, stamp in times(tmp_path).items() if stamp != stamps[name]] == [lost.name]


@pytest.mark.usefixtures("few_videos")
def test_another_seed_makes_every_video_anew(tmp_path: Path) -> None:
    build_demo_dataset(tmp_path, seed=0, num_workers=1)
    before = digests(tmp_path / "videos")
    build_demo_dataset(tmp_path, seed=1, num_workers=1)
    after = digests(tmp_path / "videos")
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


@pytest.mark.usefixtures("few_videos")
def test_videos_that_were_not_made_here_are_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "videos" / "Diving" / "v_Diving_g01_c01.avi"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"precious")
    with pytest.raises(DatasetError, match="name another root"):
        build_demo_dataset(tmp_path, seed=0, num_workers=1)
    assert mine.read_bytes() == b"precious"


def test_no_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        build_demo_dataset(tmp_path, seed=0, num_workers=0)


def test_every_class_has_phrases_that_name_its_object(repository: Path) -> None:
    phrases = yaml.safe_load((repository / "config/prompts/demo.yaml").read_text(encoding="utf-8"))
    assert set(phrases) == set(CLASS_NAMES)
    for name, said in phrases.items():
        object_name = next(each for each in OBJECTS if name.startswith(each))
        assert said
        assert all(object_name.lower() in phrase for phrase in said)


def test_the_demo_clip_tells_the_object_of_a_still_from_any_working_directory(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = repository / "resources" / "demo-clip"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    rng = np.random.default_rng(5)
    truth = np.arange(48) % len(OBJECTS)
    stills = [
        render_still(rng, theme=build_theme(rng), badge=build_badge(rng, object_name=OBJECTS[index])) for index in truth
    ]
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(Image.fromarray(still)) for still in stills]))
        texts = model.encode_text(tokenizer([f"a photo of a {name.lower()}" for name in OBJECTS]), normalize=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert float(images.norm(dim=1).mean()) == pytest.approx(10, rel=0.1)
    assert np.mean((images @ texts.T).argmax(dim=1).numpy() == truth) > 0.9
