"""Groups by pattern, folder and near-duplicates, and the splits that are drawn over them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moclip.config.dataset_settings import Dataset
from moclip.core.files import write_tsv
from moclip.dataset.groups import NEAR_COLUMNS, describe_groups, join_groups, read_near_duplicates
from moclip.dataset.layouts import Listing, read_listing
from moclip.dataset.lists import LabelledVideo
from moclip.dataset.manifest import build_manifest
from moclip.dataset.splits import draw_folds
from moclip.errors import DatasetError


def write_videos(root: Path, *, scenes: int = 6, clips: int = 3) -> Path:
    """Write videos of two classes such as `run/day1/scene4_clip0.mp4`, two scenes in a folder of a day."""
    for class_name in ("run", "walk"):
        for scene in range(scenes):
            for clip in range(clips):
                path = root / class_name / f"day{scene // 2}" / f"scene{scene}_clip{clip}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(path), encoding="utf-8")
    return root


def own(root: Path, **changes: Any) -> Dataset:
    return Dataset.model_validate({"name": "own", "layout": "folders", "root": str(root), **changes})


def write_table(folder: Path, *, header: str, subset_of: Any = None, groups: str = "") -> dict[str, str]:
    """Write a table of all videos; `subset_of` gives the subset of a scene and a clip."""
    path = folder / "videos.csv"
    rows = [header]
    for video in sorted(folder.rglob("*.mp4")):
        scene, clip = (int(part[-1]) for part in video.stem.split("_"))
        cells = [
            video.relative_to(folder).as_posix(),
            video.parts[-3],
            groups,
            subset_of(scene, clip) if subset_of else "",
        ]
        rows.append(",".join(cell for cell in cells if cell))
    path.write_text("\n".join(rows), encoding="utf-8")
    return {"layout": "table", "lists": str(path)}


def groups_of(listing: Listing) -> dict[str, str]:
    return {video.video_id: video.group for video in listing.videos}


def subsets_of(listing: Listing, key: Any) -> dict[str, set[str]]:
    """Return the subsets of split 1 that the videos with one key are in."""
    found: dict[str, set[str]] = {}
    for video in listing.videos:
        found.setdefault(key(video), set()).add(video.subsets[1])
    return found


def scene_of(video: LabelledVideo) -> str:
    return video.video_id.rpartition("_")[0]


def test_without_a_rule_clips_of_one_scene_are_in_several_subsets(tmp_path: Path) -> None:
    listing = read_listing(own(write_videos(tmp_path)))
    assert max(map(len, subsets_of(listing, scene_of).values())) > 1


def test_a_pattern_names_groups_by_its_first_part_in_parentheses(tmp_path: Path) -> None:
    listing = read_listing(own(write_videos(tmp_path), groups=r"(day\d/scene\d)_clip(\d)"))
    assert set(groups_of(listing).values()) == {f"day{scene // 2}/scene{scene}" for scene in range(6)}
    assert set(map(len, subsets_of(listing, scene_of).values())) == {1}


@pytest.mark.parametrize(("level", "number"), [(1, 2), (2, 6)])
def test_a_level_of_folders_names_groups_by_the_start_of_paths(tmp_path: Path, level: int, number: int) -> None:
    names = write_table(write_videos(tmp_path), header="video,class")
    path = Path(names["lists"])  # both classes in every folder, so that any split has all classes
    path.write_text(
        path.read_text().replace("clip0.mp4,walk", "clip0.mp4,run").replace("clip1.mp4,run", "clip1.mp4,walk")
    )
    found = groups_of(read_listing(own(tmp_path, **names, groups=f"folder:{level}", validation_fraction=0.0)))
    assert len(set(found.values())) == number
    assert all(video_id.startswith(f"{group}/") for video_id, group in found.items())


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (r"(take\d+)", "`run/day0/scene0_clip0` and 35 more does not contain it"),
        (r"scene([0-4])_", "`run/day2/scene5_clip0` and 5 more does not contain it"),
        (r"scene(\d?)x?", None),
        (r"clip(x*)", "an empty name"),
        ("folder:3", "`run/day0/scene0_clip0` and 35 more has fewer folders"),
    ],
)
def test_a_rule_that_names_no_group_for_a_video_is_refused(tmp_path: Path, rule: str, expected: str | None) -> None:
    section = own(write_videos(tmp_path), groups=rule)
    if expected is None:
        assert set(groups_of(read_listing(section)).values()) == set("012345")
        return
    with pytest.raises(DatasetError) as caught:
        read_listing(section)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_groups_of_a_table_and_of_a_rule_are_not_mixed(tmp_path: Path) -> None:
    names = write_table(write_videos(tmp_path), header="video,class,group", groups="mine")
    with pytest.raises(DatasetError, match=r"videos.csv, line 2: the table has groups \(`mine`\)"):
        read_listing(own(tmp_path, **names, groups="(scene)"))


def test_a_rule_that_contradicts_the_splits_of_a_table_is_refused(tmp_path: Path) -> None:
    write_videos(tmp_path)
    names = write_table(
        tmp_path, header="video,class,split", subset_of=lambda scene, clip: ("train", "test")[clip == 2]
    )
    assert read_listing(own(tmp_path, **names)).splits == (1,)
    with pytest.raises(DatasetError, match=r"in train and `\S+` in test, both of the group `day0/scene0`"):
        read_listing(own(tmp_path, **names, groups=r"(day\d/scene\d)"))
    whole = write_table(
        tmp_path, header="video,class,split", subset_of=lambda scene, clip: ("train", "test")[scene == 5]
    )
    assert read_listing(own(tmp_path, **whole, groups=r"(day\d/scene\d)")).splits == (1,)


@pytest.mark.parametrize("changes", [{"splits": {"folds": 2}}, {"near_duplicates": {"keep_together": True}}])
def test_splits_of_a_table_are_never_drawn_anew(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_videos(tmp_path)
    names = write_table(
        tmp_path, header="video,class,split", subset_of=lambda scene, clip: ("train", "test")[scene == 5]
    )
    with pytest.raises(DatasetError, match="expected a dataset without splits to draw them; drop the key"):
        read_listing(own(tmp_path, **names, **changes))


def test_near_duplicates_are_kept_together_in_every_drawn_split(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "videos")
    # The clips of each scene, in a chain, and two scenes of the two classes.
    ids = sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.mp4"))
    scenes: dict[str, list[str]] = {}
    for video_id in ids:
        scenes.setdefault(video_id.rpartition("_")[0], []).append(video_id)
    sets = [*scenes.values(), ["run/day0/scene0_clip1", "walk/day0/scene1_clip2", "gone/video"]]
    rows = [
        (number, video_id, members[0], 0.9, "appearance") for number, members in enumerate(sets) for video_id in members
    ]
    near = tmp_path / "near_duplicates.tsv"
    write_tsv(near, header=NEAR_COLUMNS, rows=rows)
    assert [len(members) for members in read_near_duplicates(near).values()] == [len(members) for members in sets]
    for changes in ({}, {"splits": {"folds": 3}}):
        frame = build_manifest(own(root, near_duplicates={"keep_together": True}, **changes), near_duplicates=near)
        for split in [name for name in frame if name.startswith("split_")]:
            for members in sets:
                own_rows = frame[frame["video_id"].isin(members)]
                assert own_rows[split].nunique() == 1
                assert own_rows["group"].nunique() == 1


def test_a_set_that_is_too_large_for_one_scene_joins_nothing() -> None:
    videos = [
        LabelledVideo(video_id=str(number), path="", class_name="c", group=str(number), subsets={}, place="")
        for number in range(240)
    ]

    def count(size: int, number: int = 240) -> int:
        sets = [[str(member) for member in range(size)]]
        return len({video.group for video in join_groups(videos[:number], sets=sets)})

    assert (count(60), count(61)) == (181, 240)
    assert (count(50, 52), count(51, 52)) == (3, 52)


names = st.text("abcdefgh", min_size=1, max_size=2)


@given(st.dictionaries(names, names, min_size=1), st.lists(st.lists(names, max_size=3), max_size=6))
def test_joined_groups_are_the_transitive_closure_of_groups_and_sets(
    group_of: dict[str, str], sets: list[list[str]]
) -> None:
    videos = [
        LabelledVideo(video_id=name, path=f"{name}.mp4", class_name="c", group=group, subsets={}, place="")
        for name, group in group_of.items()
    ]
    found = {video.video_id: video.group for video in join_groups(videos, sets=sets)}
    # By brute force: merge until nothing changes.
    parts = [{name for name in group_of if group_of[name] == group} for group in set(group_of.values())]
    for members in sets:
        known = set(members) & group_of.keys()
        touched = [part for part in parts if part & known]
        parts = [part for part in parts if not part & known] + ([set().union(*touched)] if touched else [])
    for part in parts:
        assert {found[name] for name in part} == {min(group_of[name] for name in part)}


@st.composite
def grouped_videos(draw: st.DrawFn) -> list[LabelledVideo]:
    sizes = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=6, max_size=20))
    return [
        LabelledVideo(video_id=f"{group}-{clip}", path="", class_name=name, group=f"{group}", subsets={}, place="")
        for group, (name, size) in enumerate(sizes)
        for clip in range(size)
    ]


@given(grouped_videos(), st.integers(2, 5), st.integers(0, 3))
def test_every_group_is_tested_in_exactly_one_fold(videos: list[LabelledVideo], num_folds: int, seed: int) -> None:
    drawn = draw_folds(videos, num_folds=num_folds, seed=seed)
    tested: dict[str, set[int]] = {}
    for video in drawn:
        assert set(video.subsets) == set(range(1, num_folds + 1))
        tests = {split for split, subset in video.subsets.items() if subset == "test"}
        assert len(tests) == 1
        assert tested.setdefault(video.group, tests) == tests
    assert sorted(drawn, key=lambda video: video.video_id) == sorted(
        draw_folds(videos[::-1], num_folds=num_folds, seed=seed), key=lambda video: video.video_id
    )


@given(grouped_videos(), st.integers(2, 4))
def test_a_class_with_as_many_groups_as_folds_is_tested_in_every_fold(
    videos: list[LabelledVideo], num_folds: int
) -> None:
    drawn = draw_folds(videos, num_folds=num_folds, seed=0)
    for name in {video.class_name for video in videos}:
        own_videos = [video for video in drawn if video.class_name == name]
        if len({video.group for video in own_videos}) >= num_folds:
            counts = Counter(
                split for video in own_videos for split, subset in video.subsets.items() if subset == "test"
            )
            assert len(counts) == num_folds
            largest = max(Counter(video.group for video in own_videos).values())
            assert max(counts.values()) - min(counts.values()) <= largest


def test_folds_follow_from_their_seed_and_keep_validation_groups_whole(tmp_path: Path) -> None:
    section = own(write_videos(tmp_path, scenes=8), groups=r"(\w+/day\d/scene\d)", splits={"folds": 4, "seed": 1})
    listing = read_listing(section)
    assert listing.splits == (1, 2, 3, 4)
    for split in listing.splits:
        counts = Counter((video.class_name, video.subsets[split]) for video in listing.videos)
        assert counts["run", "test"] == counts["walk", "test"] == 6
        assert counts["run", "val"] == 3
        assert len({(video.group, video.subsets[split]) for video in listing.videos}) == 16
    other = read_listing(section.model_copy(update={"splits": section.splits.model_copy(update={"seed": 2})}))
    assert [video.subsets for video in other.videos] != [video.subsets for video in listing.videos]


def test_a_class_of_one_group_cannot_be_tested_in_folds(tmp_path: Path) -> None:
    write_videos(tmp_path)
    (tmp_path / "hop").mkdir()
    (tmp_path / "hop/scene0_clip0.mp4").write_text("1")
    with pytest.raises(DatasetError, match="`hop` has no train video; all of its videos are of the group `hop/scene0"):
        read_listing(own(tmp_path, splits={"folds": 3}))


@pytest.mark.parametrize(
    ("changes", "groups", "expected"),
    [
        ({}, {"a/1": "a/1", "a/2": "a/2"}, "each video alone, since no source is known"),
        ({}, {"a/1": "film", "a/2": "film", "a/3": "a/3"}, "of the layout; 1 of 3 videos alone"),
        ({"groups": "folder:1"}, {"a/1": "a"}, "of the first folder of the path"),
        ({"groups": "folder:2"}, {"a/b/1": "a/b"}, "of the first 2 folders of the path"),
        ({"groups": "(x+)"}, {"axx": "xx"}, "of the pattern (x+)"),
        (
            {"near_duplicates": {"keep_together": True}},
            {"a": "a", "b": "a", "c": "c"},
            "of the layout and of near-duplicates; 1 of 3 videos alone",
        ),
    ],
)
def test_the_source_of_groups_is_named(changes: dict[str, Any], groups: dict[str, str], expected: str) -> None:
    found = describe_groups(own(Path("videos"), **changes), groups=groups)
    assert found == expected
