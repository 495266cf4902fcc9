"""The manifest of each layout, its fingerprints, and what must be refused."""

import logging
import os
import re
import shutil
import time
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.config.dataset_settings import Dataset
from moclip.dataset import fingerprints
from moclip.dataset.fingerprints import UnchangedCheck
from moclip.dataset.layouts import check_dataset
from moclip.dataset.manifest import build_manifest, dataset_signature, read_manifest, shard_of, write_manifest
from moclip.dataset.manifest_table import list_class_names
from moclip.errors import DatasetError

relaxed = settings(deadline=None)
PINNED_SHARDS = [8, 26, 32, 12]
CLASSES = ("Jump", "Archery")  # the order of the class file, which is not that of the alphabet


def dataset(folder: Path, *, layout: str = "ucf101", **others: Any) -> Dataset:
    defaults = {
        "name": "small",
        "layout": layout,
        "root": str(folder / "videos"),
        "lists": str(folder / "lists"),
        "classes": [],
        "validation_fraction": 0.2,
        "validation_seed": 0,
        "test_fraction": 0.3,
        "num_shards": 3,
        "fingerprint": "content",
        "on_bad_video": "fail",
    }
    return Dataset(**{**defaults, **others})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_video(root: Path, path: str) -> str:
    write(root / "videos" / path, f"bytes of {path}")
    return path


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    """Two classes of 6 groups of 2 clips; groups 1 and 2 are the test set of split 1, 3 and 4 of split 2."""
    numbers = {"Jump": 7, "Archery": 3}
    lists: dict[str, list[str]] = {f"{subset}list0{split}": [] for subset in ("train", "test") for split in (1, 2)}
    for class_name in CLASSES:
        for group in range(1, 7):
            for clip in (1, 2):
                path = write_video(tmp_path, f"{class_name}/v_{class_name}_g{group:02d}_c{clip:02d}.avi")
                for split in (1, 2):
                    is_test = group in {2 * split - 1, 2 * split}
                    line = path if is_test else f"{path} {numbers[class_name]}"
                    lists[f"{'test' if is_test else 'train'}list0{split}"].append(line)
    for name, lines in lists.items():
        write(tmp_path / "lists" / f"{name}.txt", "".join(f"{line}\n" for line in lines))
    write(tmp_path / "lists" / "classInd.txt", "7 Jump\n3 Archery\n")
    return tmp_path


@pytest.fixture
def hmdb(tmp_path: Path) -> Path:
    """Two classes of 4 films of 2 clips, one unused; the last film is the test set."""
    for class_name in ("wave", "brush_hair"):
        lines = []
        for film in range(4):
            for clip in range(2):
                name = f"Film {film}_{class_name}_u_nm_np1_fr_med_{clip}.avi"
                write_video(tmp_path, f"{class_name}/{name}")
                lines.append(f"{name} {2 if film == 3 else 1} ")
        for split in (1, 2, 3):
            unused = [f"extra{clip}.avi {0 if clip < 2 or split < 3 else 1}" for clip in range(3)]
            write(tmp_path / "lists" / f"{class_name}_test_split{split}.txt", "\n".join([*lines, *unused]))
        for clip in range(3):
            write_video(tmp_path, f"{class_name}/extra{clip}.avi")
    return tmp_path


def subsets(frame: pd.DataFrame, split: int = 1) -> dict[str, str]:
    return dict(zip(frame["video_id"], frame[f"split_{split}"], strict=True))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def refusal(section: Dataset) -> str:
    with pytest.raises(DatasetError) as caught:
        build_manifest(section)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- layouts


def test_ucf101_gives_classes_in_the_order_of_the_class_file(ucf: Path) -> None:
    frame = build_manifest(dataset(ucf))
    assert list(frame.columns) == [
        *("video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard"),
        *("split_1", "split_2"),
    ]
    assert len(frame) == 24
    assert list_class_names(frame) == CLASSES
    assert list(frame["video_id"]) == sorted(frame["video_id"])
    row = frame.set_index("video_id").loc["Jump/v_Jump_g03_c01"]
    assert (row["path"], row["group"], row["class_index"]) == ("Jump/v_Jump_g03_c01.avi", "Jump/g03", 0)
    assert (row["split_1"] in {"train", "val"}, row["split_2"]) == (True, "test")


def test_the_kept_classes_are_numbered_from_zero_in_the_order_of_the_class_file(ucf: Path) -> None:
    frame = build_manifest(dataset(ucf, classes=["Archery"]))
    assert list_class_names(frame) == ("Archery",)
    assert set(frame["class_index"]) == {0}
    assert len(frame) == 12
    assert list_class_names(build_manifest(dataset(ucf, classes=["Archery", "Jump"]))) == CLASSES


def test_videos_that_no_list_names_are_left_alone(ucf: Path) -> None:
    before = build_manifest(dataset(ucf))
    write_video(ucf, "Jump/stray.avi")
    write_video(ucf, "Other/stray.avi")
    pd.testing.assert_frame_equal(build_manifest(dataset(ucf)), before)


def test_hmdb51_takes_the_splits_of_every_class_and_drops_videos_that_no_split_uses(hmdb: Path) -> None:
    frame = build_manifest(dataset(hmdb, layout="hmdb51"))
    assert list_class_names(frame) == ("brush_hair", "wave")
    assert [name for name in frame.columns if name.startswith("split")] == ["split_1", "split_2", "split_3"]
    by_id = frame.set_index("video_id")
    assert "wave/extra0" not in by_id.index
    assert by_id.loc["wave/extra2", "split_1"] == ""
    assert by_id.loc["wave/extra2", "split_3"] in {"train", "val"}
    assert by_id.loc["wave/Film 3_wave_u_nm_np1_fr_med_0", "split_1"] == "test"


def test_a_film_that_gives_clips_of_two_classes_stays_on_one_side(hmdb: Path) -> None:
    for seed in range(10):
        frame = build_manifest(dataset(hmdb, layout="hmdb51", validation_seed=seed))
        for split in (1, 2, 3):
            sides = frame.groupby("group")[f"split_{split}"].agg(lambda found: set(found) - {""})
            assert all(len(side) <= 1 for side in sides)
            assert set(sides["Film 0"]) <= {"train", "val"}


def test_folders_draws_test_and_validation_videos_by_group(ucf: Path) -> None:
    write_video(ucf, "Jump/._v_Jump_g01_c01.avi")
    write_video(ucf, ".trash/x.avi")
    write(ucf / "videos" / "Jump" / "notes.txt", "no video")
    frame = build_manifest(dataset(ucf, layout="folders"))
    assert list_class_names(frame) == ("Archery", "Jump")
    assert len(frame) == 24
    assert frame.groupby("class_name")["split_1"].value_counts().to_dict() == {
        ("Archery", "train"): 6,
        ("Archery", "test"): 4,
        ("Archery", "val"): 2,
        ("Jump", "train"): 6,
        ("Jump", "test"): 4,
        ("Jump", "val"): 2,
    }
    assert (frame.groupby("group")["split_1"].nunique() == 1).all()


def test_a_drawn_test_set_stays_the_same_for_every_validation_seed(ucf: Path) -> None:
    frames = [build_manifest(dataset(ucf, layout="folders", validation_seed=seed)) for seed in range(5)]
    assert len({tuple(frame["split_1"] == "test") for frame in frames}) == 1
    assert len({tuple(frame["split_1"] == "val") for frame in frames}) > 1


def test_a_table_without_splits_is_drawn_as_folders_are(ucf: Path) -> None:
    folders = build_manifest(dataset(ucf, layout="folders"))
    rows = "".join(f"{path}\t{name}\n" for path, name in zip(folders["path"], folders["class_name"], strict=True))
    table = write(ucf / "table.tsv", f"video\tclass\n{rows}")
    pd.testing.assert_frame_equal(build_manifest(dataset(ucf, layout="table", lists=str(table))), folders)


def write_table(root: Path, *rows: str) -> dict[str, Any]:
    for row in rows:
        write_video(root, row.split(",")[0])
    table = write(root / "table.csv", "video,class,group,split\n" + "".join(f"{row}\n" for row in rows))
    return dataset(root, layout="table", lists=str(table))


def test_a_table_keeps_the_validation_videos_it_names(tmp_path: Path) -> None:
    frame = build_manifest(
        write_table(tmp_path, "a.avi,A,g1,train", "b.avi,A,g2,train", "c.avi,A,g3,val", "d.avi,A,g3,test", "e.avi,A,,")
    )
    assert subsets(frame) == {"a": "train", "b": "train", "c": "val", "d": "test"}
    assert list(frame["group"]) == ["g1", "g2", "g3", "g3"]


def test_a_table_whose_group_is_in_train_and_val_is_refused(tmp_path: Path) -> None:
    message = refusal(write_table(tmp_path, "a.avi,A,g1,train", "b.avi,A,g1,val", "c.avi,A,,test"))
    assert "table.csv, line 2: split 1 has `a` in train and `b` in val, both of the group `g1`" in message


# --- validation


def test_validation_takes_whole_groups_of_every_class_from_train_alone(ucf: Path) -> None:
    frame = build_manifest(dataset(ucf))
    for split in (1, 2):
        column = f"split_{split}"
        assert (frame.groupby("group")[column].nunique() == 1).all()
        for class_name in CLASSES:
            counts = frame[frame["class_name"] == class_name][column].value_counts()
            assert counts.to_dict() == {"train": 6, "val": 2, "test": 4}


def test_the_order_of_lines_changes_nothing(ucf: Path) -> None:
    before = build_manifest(dataset(ucf))
    for path in (ucf / "lists").glob("t*list0*.txt"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(reversed(lines)))
    pd.testing.assert_frame_equal(build_manifest(dataset(ucf)), before)


def test_a_group_that_is_added_leaves_the_other_class_as_it_was(ucf: Path) -> None:
    before = subsets(build_manifest(dataset(ucf)))
    write_video(ucf, "Jump/v_Jump_g99_c01.avi")
    edit(ucf / "lists" / "trainlist01.txt", "Jump/", "Jump/v_Jump_g99_c01.avi 7\nJump/")
    after = subsets(build_manifest(dataset(ucf)))
    assert all(after[video_id] == subset for video_id, subset in before.items() if video_id.startswith("Archery"))


def test_no_validation_is_drawn_where_none_is_asked_for(ucf: Path) -> None:
    assert "val" not in set(subsets(build_manifest(dataset(ucf, validation_fraction=0))).values())


# --- errors


def test_a_missing_root_or_list_is_named(ucf: Path) -> None:
    for section, words in [
        (dataset(ucf, root=str(ucf / "nowhere")), "dataset.root: expected a folder of videos, found none at"),
        (dataset(ucf, lists=str(ucf / "nowhere")), "dataset.lists: expected a folder of list files, found none at"),
        (dataset(ucf, lists=""), "dataset.lists: the layout `ucf101` needs a folder of list files"),
        (dataset(ucf, layout="table"), "dataset.lists: expected a file, found none at"),
    ]:
        assert words in refusal(section)
        with pytest.raises(DatasetError, match=words):
            check_dataset(section)
    check_dataset(dataset(ucf, layout="folders", lists=""))


def test_missing_videos_are_named_with_their_line_and_counted(ucf: Path, caplog: pytest.LogCaptureFixture) -> None:
    (ucf / "videos" / "Jump" / "v_Jump_g05_c01.avi").unlink()
    message = refusal(dataset(ucf))
    assert re.search(r"trainlist01.txt, line 5: the video `Jump/v_Jump_g05_c01.avi` is not below .*videos", message)
    assert "or set `dataset.on_bad_video: skip`" in message
    shutil.rmtree(ucf / "videos" / "Archery")
    for policy in ("fail", "skip"):
        caplog.clear()
        message = refusal(dataset(ucf, on_bad_video=policy))
        assert "the video `Archery/v_Archery_g01_c01.avi` is not below" in message
        assert "(and 12 more, all in the log of this job); the class `Archery` has no video there at all" in message
        assert "on_bad_video" not in message
        assert len([record for record in caplog.records if "is not below" in record.getMessage()]) == 13
    assert len(build_manifest(dataset(ucf, layout="folders", classes=["Jump"]))) == 11


@pytest.mark.parametrize("kind", ["content", "stat"])
def test_missing_videos_are_listed_until_they_come_back(ucf: Path, kind: str) -> None:
    section = dataset(ucf, on_bad_video="skip", fingerprint=kind)
    path = ucf / "videos" / "Jump" / "v_Jump_g05_c01.avi"
    before = build_manifest(section).set_index("video_id")
    content = path.read_bytes()
    times = path.stat().st_mtime_ns
    path.unlink()
    without = build_manifest(section).set_index("video_id")
    changed = before["fingerprint"] != without["fingerprint"]
    assert list(before.index[changed]) == ["Jump/v_Jump_g05_c01"]
    assert (before.drop(columns="fingerprint") == without.drop(columns="fingerprint")).all(axis=None)
    check = UnchangedCheck(kind, root=ucf / "videos", paths=[path])
    check(path, fingerprint=without.loc["Jump/v_Jump_g05_c01", "fingerprint"])
    with pytest.raises(DatasetError, match="cannot be read any more"):
        check(path, fingerprint=before.loc["Jump/v_Jump_g05_c01", "fingerprint"])
    path.write_bytes(content)
    os.utime(path, ns=(times, times))
    with pytest.raises(DatasetError, match="changed after the manifest was written"):
        check(path, fingerprint=without.loc["Jump/v_Jump_g05_c01", "fingerprint"])
    pd.testing.assert_frame_equal(build_manifest(section).set_index("video_id"), before)


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        ("Jump/v_Jump_g05_c01.mp4", r"; there is `Jump/v_Jump_g05_c01.mp4`, with another suffix"),
        ("jump/v_Jump_g05_c01.avi", r"; there is `jump/v_Jump_g05_c01.avi`, in another letter case"),
        ("Jump/v_Jump_g05_c01.AVI", r"; there is `Jump/v_Jump_g05_c01.AVI`, with another suffix"),
        ("Jump/v_Jump_g05_d01.avi", r"; there is `Jump/v_Jump_g05_d01.avi`, with a similar name"),
        ("other/clip.avi", r"videos (and 1 more, all in the log of this job); correct dataset.root"),
    ],
)
def test_a_missing_video_is_reported_with_the_file_that_was_meant(ucf: Path, there: str, hint: str) -> None:
    for number in (1, 2):
        (ucf / "videos" / "Jump" / f"v_Jump_g05_c0{number}.avi").unlink()
    write_video(ucf, there)
    assert hint in refusal(dataset(ucf))


def test_a_missing_video_in_another_unicode_form_is_recognized(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Café/klettern ü.mp4") for form in ("NFC", "NFD"))
    rows = [f"{composed},Café", *(f"Café/{number}.mp4,Café" for number in range(4))]
    for path in [decomposed, *(f"Café/{number}.mp4" for number in range(4))]:
        write_video(tmp_path, path)
    table = write(tmp_path / "table.csv", "video,class\n" + "\n".join(rows) + "\n")
    message = refusal(dataset(tmp_path, layout="table", lists=str(table)))
    assert message.endswith(
        "in another Unicode form; correct dataset.root, or add the video, or take it off the list, "
        "or set `dataset.on_bad_video: skip`"
    )


def test_a_folder_by_the_name_of_a_video_is_no_video(ucf: Path) -> None:
    path = ucf / "videos" / "Jump" / "v_Jump_g05_c01.avi"
    path.unlink()
    path.mkdir()
    assert "`Jump/v_Jump_g05_c01.avi` is not below" in refusal(dataset(ucf))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "trainlist01",
            "Jump/v_Jump_g03_c02",
            "Jump/v_Jump_g03_c01",
            "`Jump/v_Jump_g03_c01` is named twice",
        ),
        ("testlist01", "Jump/v_Jump_g01_c01", "Jump/v_Jump_g03_c01", "named twice by split 1, as test and train"),
        (
            "trainlist01",
            "Jump/",
            "Jumps/",
            "`Jumps` is not in classInd.txt; the nearest one is `Jump`",
        ),
        ("trainlist01", "c01.avi 7", "c01.avi 3", "gives `Jump` the number 7"),
        ("trainlist01", "Jump/v_Jump_g03_c01.avi", "../secret.avi", "line 1: expected a path below the root"),
        ("trainlist01", "Jump/v_Jump_g03_c01.avi", "/etc/secret.avi", "line 1: expected a path below the root"),
        ("trainlist01", "Jump/v_Jump_g03_c01.avi", "Jump/\0.avi", "line 1: expected a name without"),
        ("testlist02", ".avi", ".mp4", "have one id"),
        ("classInd", "7 Jump", "7 Jump\n9 Juggle", "split 1: the class `Juggle` has no train video"),
        ("classInd", "7 Jump\n", "Jump\n", "classInd.txt, line 1: expected `<number> <class name>`"),
    ],
)
def test_lists_at_fault_are_told_in_one_line(ucf: Path, name: str, old: str, new: str, words: str) -> None:
    edit(ucf / "lists" / f"{name}.txt", old, new)
    assert words in refusal(dataset(ucf))


def test_files_that_are_no_text_or_not_there_are_named(ucf: Path) -> None:
    (ucf / "lists" / "testlist02.txt").write_bytes(b"Jump/\xff.avi\n")
    assert "testlist02.txt: expected UTF-8 text, found other bytes at byte 5" in refusal(dataset(ucf))
    (ucf / "lists" / "testlist02.txt").unlink()
    assert "expected pairs trainlist01.txt and testlist01.txt" in refusal(dataset(ucf))
    (ucf / "lists" / "classInd.txt").unlink()
    assert "classInd.txt: cannot read this list file: No such file" in refusal(dataset(ucf))


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(ucf: Path) -> None:
    before = build_manifest(dataset(ucf))
    for path in (ucf / "lists").glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(build_manifest(dataset(ucf)), before)


def test_an_incomplete_set_of_hmdb_lists_is_refused(hmdb: Path) -> None:
    (hmdb / "lists" / "wave_test_split2.txt").unlink()
    assert "wave_test_split2.txt is missing" in refusal(dataset(hmdb, layout="hmdb51"))
    shutil.rmtree(hmdb / "lists")
    (hmdb / "lists").mkdir()
    assert "expected files named <class>_test_split1.txt" in refusal(dataset(hmdb, layout="hmdb51"))


def test_a_split_without_test_videos_is_refused(ucf: Path) -> None:
    (ucf / "lists" / "testlist02.txt").write_text("")
    assert "split 2: not one test video" in refusal(dataset(ucf))


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    assert "not one video" in refusal(dataset(tmp_path, layout="folders"))
    table = write(tmp_path / "table.csv", "video,class\n")
    assert "not one video" in refusal(dataset(tmp_path, layout="table", lists=str(table)))


def test_folders_refuses_a_class_without_videos_and_a_video_without_class(ucf: Path) -> None:
    (ucf / "videos" / "Zumba").mkdir()
    assert "the class `Zumba` has no train video" in refusal(dataset(ucf, layout="folders"))
    write_video(ucf, "stray.avi")
    assert "`stray.avi` lies in no class folder" in refusal(dataset(ucf, layout="folders"))


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "", "Test")]
)
def test_folders_of_subsets_are_the_split(tmp_path: Path, names: tuple[str, str, str]) -> None:
    subsets = {name: subset for name, subset in zip(names, ("train", "val", "test"), strict=True) if name}
    for name in subsets:
        for class_name in ("Jump", "Archery"):
            for number in range(4):
                write_video(tmp_path, f"{name}/{class_name}/deep/{number}.mp4")
    frame = build_manifest(dataset(tmp_path, layout="folders"))
    assert list_class_names(frame) == ("Archery", "Jump")
    given = [subsets[video_id.split("/")[0]] for video_id in frame["video_id"]]
    if "val" in subsets.values():
        assert list(frame["split_1"]) == given
    else:
        # Validation videos are drawn from train, and from nowhere else.
        assert [{"val": "train"}.get(subset, subset) for subset in frame["split_1"]] == given
        assert "val" in set(frame["split_1"])
    assert len(build_manifest(dataset(tmp_path, layout="folders", classes=["Jump"]))) == len(frame) / 2


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (
            ["train/Jump/a.avi", "test/Jump/b.avi", "Jump/c.avi"],
            r"found `test/<class>/<video>` next to the folder `Jump`",
        ),
        (["train/Jump/a.avi", "test/b.avi", "test/c.avi"], r"found `train/<class>/<video>` next to the folder `test`"),
        (["train/Jump/a.avi", "val/Jump/b.avi"], r"found train, val; add or rename a folder"),
        (["test/Jump/a.avi"], r"found test; add or rename a folder"),
        (["train/Jump/a.avi", "training/Jump/b.avi", "test/Jump/c.avi"], r"`train` and `training` are both train"),
    ],
)
def test_a_tree_that_is_neither_classes_nor_subsets_is_refused(tmp_path: Path, paths: list[str], expected: str) -> None:
    for path in paths:
        write_video(tmp_path, path)
    assert expected in refusal(dataset(tmp_path, layout="folders"))


def test_a_class_may_be_called_like_a_subset(tmp_path: Path) -> None:
    for class_name in ("train", "tram"):
        for number in range(6):
            write_video(tmp_path, f"{class_name}/{number}.avi")
    assert list_class_names(build_manifest(dataset(tmp_path, layout="folders"))) == ("train", "tram")


def test_folders_refuses_two_files_of_one_id(ucf: Path) -> None:
    write_video(ucf, "Jump/v_Jump_g01_c01.mp4")
    assert "have one id, `Jump/v_Jump_g01_c01`" in refusal(dataset(ucf, layout="folders"))


def test_a_file_name_that_is_no_unicode_is_refused_and_not_guessed(ucf: Path) -> None:
    (Path(os.fsdecode(os.fsencode(ucf / "videos" / "Jump") + b"/\xff.avi"))).write_bytes(b"x")
    assert "expected a name without" in refusal(dataset(ucf, layout="folders"))


# --- fingerprints


def test_the_same_bytes_have_the_same_fingerprint_wherever_and_whenever(ucf: Path, tmp_path: Path) -> None:
    shutil.copyfile(ucf / "videos/Jump/v_Jump_g01_c01.avi", ucf / "videos/Jump/v_Jump_g01_c02.avi")
    prints = build_manifest(dataset(ucf)).set_index("video_id")["fingerprint"]
    assert prints["Jump/v_Jump_g01_c01"] == prints["Jump/v_Jump_g01_c02"]
    assert prints.nunique() == 23
    assert prints.str.fullmatch("[0-9a-f]{32}").all()


def test_a_touched_video_leaves_the_manifest_as_it_was_and_an_edited_one_changes_its_row(ucf: Path) -> None:
    memo, video = ucf / "cache" / "memo.tsv", ucf / "videos" / "Jump" / "v_Jump_g01_c01.avi"
    before = build_manifest(dataset(ucf), memo=memo)
    os.utime(video, ns=(0, 1))
    pd.testing.assert_frame_equal(build_manifest(dataset(ucf), memo=memo), before)
    video.write_text("other bytes")
    after = build_manifest(dataset(ucf), memo=memo)
    changed = after["video_id"][after["fingerprint"] != before["fingerprint"]]
    assert list(changed) == ["Jump/v_Jump_g01_c01"]


@pytest.fixture
def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos whose bytes are read, as they are."""
    paths: list[str] = []
    digest_file = fingerprints._digest_file

    def spy(version: tuple[str, int, int, int]) -> str:
        paths.append(version[0])
        return digest_file(version)

    monkeypatch.setattr(fingerprints, "_digest_file", spy)
    # These files are milliseconds old, and would be read once more.
    monkeypatch.setattr(fingerprints, "_FINE_TICK_NS", 0)
    return paths


def test_only_new_and_changed_videos_are_read_again(ucf: Path, read_paths: list[str]) -> None:
    memo = ucf / "memo.tsv"
    first = build_manifest(dataset(ucf), memo=memo)
    assert len(read_paths) == 24
    read_paths.clear()
    pd.testing.assert_frame_equal(build_manifest(dataset(ucf), memo=memo), first)
    assert read_paths == []
    (ucf / "videos" / "Jump" / "v_Jump_g02_c01.avi").write_text("other bytes, other size")
    build_manifest(dataset(ucf), memo=memo)
    assert [Path(path).name for path in read_paths] == ["v_Jump_g02_c01.avi"]
    read_paths.clear()
    build_manifest(dataset(ucf, classes=["Archery"]), memo=memo)
    build_manifest(dataset(ucf), memo=memo)
    assert read_paths == []


def test_a_video_is_compared_by_its_bytes_only_where_its_size_or_a_time_is_another(
    ucf: Path, read_paths: list[str]
) -> None:
    memo, root = ucf / "memo.tsv", ucf / "videos"
    frame = build_manifest(dataset(ucf), memo=memo)
    listed = {root / path: digest for path, digest in zip(frame["path"], frame["fingerprint"], strict=True)}
    touched, changed, *_ = sorted(listed)
    check = UnchangedCheck("content", root=root, paths=listed, memo=memo)
    read_paths.clear()
    for path, fingerprint in listed.items():
        check(path, fingerprint=fingerprint)
    assert read_paths == []
    touched.touch()
    check(touched, fingerprint=listed[touched])
    assert read_paths == [str(touched)]
    status = changed.stat()
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DatasetError, match="the video changed after the manifest was written"):
        check(changed, fingerprint=listed[changed])
    with pytest.raises(DatasetError, match="expected the fingerprint 0000"):
        check(touched, fingerprint="0" * 32)


def test_videos_without_a_memo_are_compared_by_their_bytes(ucf: Path, read_paths: list[str]) -> None:
    frame = build_manifest(dataset(ucf), memo=ucf / "memo.tsv")
    path = ucf / "videos" / frame["path"][0]
    for memo in (None, ucf / "lost.tsv"):
        read_paths.clear()
        check = UnchangedCheck("content", root=ucf / "videos", paths=[path], memo=memo)
        check(path, fingerprint=frame["fingerprint"][0])
        assert read_paths == [str(path)]


def test_a_damaged_memo_costs_reading_and_never_a_wrong_fingerprint(
    ucf: Path, read_paths: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    memo = ucf / "memo.tsv"
    first = build_manifest(dataset(ucf), memo=memo)
    lines = memo.read_text().splitlines(keepends=True)
    lines[3] = lines[3][:-5] + "\n"
    lines[7] = "\x00\x01 no memo\n"
    memo.write_text("".join(lines))
    read_paths.clear()
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(build_manifest(dataset(ucf), memo=memo), first)
    assert len(read_paths) == 2
    assert "line 4: not understood" in caplog.text


def test_what_was_read_before_an_error_is_not_read_again(
    ucf: Path, read_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memo, spy = ucf / "memo.tsv", fingerprints._digest_file

    def fail_late(version: tuple[str, int, int, int]) -> str:
        if len(read_paths) == 10:
            raise KeyboardInterrupt
        return spy(version)

    monkeypatch.setattr(fingerprints, "_digest_file", fail_late)
    with pytest.raises(KeyboardInterrupt):
        build_manifest(dataset(ucf), memo=memo, num_threads=1)
    assert len(memo.read_text().splitlines()) == 10
    monkeypatch.setattr(fingerprints, "_digest_file", spy)
    build_manifest(dataset(ucf), memo=memo)
    assert len(read_paths) == len(set(read_paths)) == 24


def test_a_stop_does_not_wait_for_the_videos_that_were_not_begun(
    ucf: Path, read_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = fingerprints._digest_file

    def read_slowly(version: tuple[str, int, int, int]) -> str:
        time.sleep(0.02)
        return spy(version)

    def stop(*args: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(fingerprints, "_digest_file", read_slowly)
    monkeypatch.setattr(fingerprints, "SAVE_SECONDS", -1)
    monkeypatch.setattr(fingerprints._log, "info", stop)
    with pytest.raises(SystemExit):
        build_manifest(dataset(ucf), memo=ucf / "memo.tsv", num_threads=1)
    assert len(read_paths) < 24
    assert (ucf / "memo.tsv").is_file()


def test_the_number_of_threads_changes_nothing(ucf: Path) -> None:
    one, eight = (build_manifest(dataset(ucf), num_threads=num) for num in (1, 8))
    pd.testing.assert_frame_equal(one, eight)


def test_stat_reads_no_video_and_tells_files_of_equal_size_and_time_apart(ucf: Path, read_paths: list[str]) -> None:
    for path in (ucf / "videos").rglob("*.avi"):
        path.write_text("same size")
        os.utime(path, ns=(0, 10**18))
    before = build_manifest(dataset(ucf, fingerprint="stat"))
    assert read_paths == []
    assert before["fingerprint"].nunique() == 24
    os.utime(ucf / "videos" / "Jump" / "v_Jump_g01_c01.avi", ns=(0, 10**18 + 1))
    after = build_manifest(dataset(ucf, fingerprint="stat"))
    assert (after["fingerprint"] != before["fingerprint"]).sum() == 1


# --- shards


@relaxed
@given(st.text(min_size=1, max_size=20), st.integers(1, 1000))
def test_a_shard_follows_from_the_id_and_the_number_of_shards_alone(video_id: str, num_shards: int) -> None:
    assert shard_of(video_id, num_shards=num_shards) in range(num_shards)


def test_shards_are_the_same_on_every_machine_and_about_equally_full() -> None:
    # Pinned: these very numbers decide where features lie.
    assert [shard_of(f"A/v_A_g01_c0{i}", num_shards=64) for i in range(4)] == PINNED_SHARDS
    counts = pd.Series([shard_of(f"A/{i}", num_shards=8) for i in range(8000)]).value_counts()
    assert counts.min() > 850
    assert counts.max() < 1150


def test_adding_a_video_moves_no_other_to_another_shard(ucf: Path) -> None:
    before = build_manifest(dataset(ucf, layout="folders")).set_index("video_id")["shard"]
    write_video(ucf, "Jump/v_Jump_g00_c00.avi")
    after = build_manifest(dataset(ucf, layout="folders")).set_index("video_id")["shard"]
    assert (after[before.index] == before).all()


# --- reading and writing


def test_a_manifest_reads_back_as_it_was_written_and_writes_the_same_bytes(ucf: Path) -> None:
    frame = build_manifest(dataset(ucf))
    write_manifest(frame, ucf / "out" / "manifest.tsv")
    back = read_manifest(ucf / "out" / "manifest.tsv")
    pd.testing.assert_frame_equal(back, frame)
    write_manifest(back.sample(frac=1, random_state=0), ucf / "again.tsv")
    assert (ucf / "again.tsv").read_bytes() == (ucf / "out" / "manifest.tsv").read_bytes()
    assert [path.name for path in (ucf / "out").iterdir()] == ["manifest.tsv"]


def test_classes_whose_names_look_like_nothing_or_numbers_survive(tmp_path: Path) -> None:
    names = ["NA", "null", "None", "nan", "1", "001", "1e5", "True", 'a "quoted" one', "#x", "Ærø 走る"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    rows = [f"{i}{subset}.avi,{name},{subset}" for i, name in enumerate(quoted) for subset in ("train", "test")]
    for row in rows:
        write_video(tmp_path, row.split(",")[0])
    table = write(tmp_path / "t.csv", "video,class,split\n" + "".join(f"{row}\n" for row in rows))
    frame = build_manifest(dataset(tmp_path, layout="table", lists=str(table)))
    write_manifest(frame, tmp_path / "manifest.tsv")
    back = read_manifest(tmp_path / "manifest.tsv")
    pd.testing.assert_frame_equal(back, frame)
    assert list_class_names(back) == tuple(sorted(names))
    assert back["video_id"].tolist()[0] == "0test"
    assert {type(value) for value in back["class_name"]} == {str}
    assert str(back["class_index"].dtype) == str(back["shard"].dtype) == "int64"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("video_id\t", "video\t", "expected the columns video_id"),
        ("split_1", "split_x", "expected the columns"),
        ("\ttest", "\ttesting", "split_1: expected train, val, test or nothing, found `testing`"),
        ("\t1\t", "\tone\t", "expected integers"),
        ("\n", "\textra\n", "expected the columns"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(ucf: Path, old: str, new: str, words: str) -> None:
    path = ucf / "manifest.tsv"
    write_manifest(build_manifest(dataset(ucf)), path)
    edit(path, old, new)
    with pytest.raises(DatasetError, match=words):
        read_manifest(path)


def test_a_manifest_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest.tsv: the manifest is missing"):
        read_manifest(tmp_path / "manifest.tsv")
    (tmp_path / "manifest.tsv").write_text("")
    with pytest.raises(DatasetError, match="no manifest"):
        read_manifest(tmp_path / "manifest.tsv")


def test_a_failed_write_leaves_the_old_manifest(ucf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(ucf / "out" / "manifest.tsv", "old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    frame = build_manifest(dataset(ucf))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_manifest(frame, path)
    assert path.read_text() == "old"
    assert list((ucf / "out").iterdir()) == [path]


# --- the signature


def test_the_signature_stays_while_nothing_changes_and_reads_no_video(ucf: Path, read_paths: list[str]) -> None:
    assert dataset_signature(dataset(ucf)) == dataset_signature(dataset(ucf))
    write(ucf / "videos" / "notes.txt", "no video")
    before = dataset_signature(dataset(ucf))
    write(ucf / "videos" / "notes.txt", "no video at all")
    assert dataset_signature(dataset(ucf)) == before
    assert read_paths == []


def test_the_signature_changes_with_every_video_and_list(ucf: Path) -> None:
    seen = [dataset_signature(dataset(ucf))]

    def changes() -> bool:
        seen.append(dataset_signature(dataset(ucf)))
        return len(set(seen)) == len(seen)

    video = ucf / "videos" / "Jump" / "v_Jump_g01_c01.avi"
    video.write_text("other bytes, other size")
    assert changes()
    os.utime(video, ns=(0, 5))
    assert changes()
    video.rename(video.with_name("renamed.avi"))
    assert changes()
    write_video(ucf, "New/deep/video.MP4")
    assert changes()
    shutil.rmtree(ucf / "videos" / "Archery")
    assert changes()
    edit(ucf / "lists" / "classInd.txt", "7 Jump", "8 Jump")
    assert changes()
    write(ucf / "lists" / "trainlist03.txt", "")
    assert changes()
    (ucf / "videos" / "dangling.avi").symlink_to(ucf / "nowhere")
    assert changes()
    shutil.rmtree(ucf / "videos")
    with pytest.raises(DatasetError, match=r"dataset\.root"):
        changes()


def test_links_to_folders_are_followed_and_circles_refused(ucf: Path) -> None:
    (ucf / "videos" / "Jump").rename(ucf / "elsewhere")
    (ucf / "videos" / "Jump").symlink_to(ucf / "elsewhere")
    assert len(build_manifest(dataset(ucf, layout="folders"))) == 24
    (ucf / "elsewhere" / "circle").symlink_to(ucf / "videos")
    with pytest.raises(DatasetError, match="leads back to a folder above it"):
        dataset_signature(dataset(ucf))


# --- real lists


def test_five_real_classes_of_ucf101_give_a_manifest(shared_dir: Path, tmp_path: Path) -> None:
    folder = shared_dir / "data" / "ucf101_5"
    section = dataset(tmp_path, root=str(folder / "videos"), lists=str(folder / "splits"))
    frame = build_manifest(section, memo=tmp_path / "memo.tsv")
    assert len(frame) == 503
    assert list_class_names(frame) == ("BrushingTeeth", "CuttingInKitchen", "JumpingJack", "Lunges", "WallPushups")
    assert frame["fingerprint"].nunique() == 503
    for split in (1, 2, 3):
        drawn = frame[frame[f"split_{split}"] != "test"]
        assert (drawn.groupby("group")[f"split_{split}"].nunique() == 1).all()
        shares = drawn.groupby("class_name")[f"split_{split}"].agg(lambda found: (found == "val").mean())
        assert shares.between(0.15, 0.25).all()


def test_the_official_lists_over_a_part_of_the_videos_name_one_that_is_missing(
    shared_dir: Path, tmp_path: Path
) -> None:
    lists, videos = (shared_dir / "data" / name for name in ("ucfTrainTestlist", "ucf101_5/videos"))
    classes = ["Lunges", "BrushingTeeth", "CuttingInKitchen", "JumpingJack", "WallPushups"]
    message = refusal(dataset(tmp_path, root=str(videos), lists=str(lists), classes=classes))
    assert "line 729: the video `BrushingTeeth/v_BrushingTeeth_g01_c04.avi` is not below" in message
    assert "(and 117 more, all in the log of this job)" in message  # 621 clips of these classes in the lists, 503 here
