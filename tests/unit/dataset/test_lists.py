"""What lists and names say of videos, and how groups are drawn."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.dataset.lists import (
    LabelledVideo,
    ListEntry,
    check_video_path,
    group_of,
    keep_classes,
    merge_entries,
    parse_class_numbers,
    parse_hmdb_list,
    parse_table,
    parse_ucf_list,
    video_id_of,
)
from moclip.dataset.splits import draw_groups, draw_subset
from moclip.errors import DatasetError

relaxed = settings(deadline=None)


def entry(path: str, *, subsets: dict[int, str], line: int = 1) -> ListEntry:
    class_name = path.partition("/")[0]
    return ListEntry(place=f"list, line {line}", path=path, class_name=class_name, subsets=subsets)


# --- class files


def test_classes_keep_the_order_of_the_file_and_not_of_the_alphabet() -> None:
    text = "35 Hammering\n36 HammerThrow\r\n\n20 Archery\n"
    assert tuple(parse_class_numbers(text, source="classInd.txt")) == ("Hammering", "HammerThrow", "Archery")
    assert parse_class_numbers(text, source="classInd.txt") == {"Hammering": 35, "HammerThrow": 36, "Archery": 20}


@pytest.mark.parametrize(
    ("text", "line"), [("1 A\n2 A\n", 2), ("1 A\n1 B\n", 2), ("A\n", 1), ("\n\n1\n", 3), ("one A\n", 1)]
)
def test_a_class_file_at_fault_is_named_with_its_line(text: str, line: int) -> None:
    with pytest.raises(DatasetError, match=f"^classInd.txt, line {line}: "):
        parse_class_numbers(text, source="classInd.txt")


def test_wanted_classes_keep_the_order_of_the_class_file() -> None:
    assert keep_classes(["c", "a", "b"], wanted=["b", "c"]) == ("c", "b")
    assert keep_classes(["c", "a", "b"], wanted=[]) == ("c", "a", "b")
    with pytest.raises(DatasetError, match="no class `Lunge`; the nearest one is `Lunges`"):
        keep_classes(["Archery", "Lunges"], wanted=["Lunge"])


# --- lists


def test_a_trainlist_has_numbers_and_a_testlist_has_none() -> None:
    (train,) = parse_ucf_list("YoYo/v_YoYo_g08_c01.avi 101\n", source="trainlist01.txt", split=1, subset="train")
    (test,) = parse_ucf_list("\nYoYo/v YoYo_g01_c01.avi\r\n", source="testlist01.txt", split=1, subset="test")
    assert (train.path, train.class_name, train.class_number) == ("YoYo/v_YoYo_g08_c01.avi", "YoYo", 101)
    assert (test.path, test.class_name, test.class_number) == ("YoYo/v YoYo_g01_c01.avi", "YoYo", None)
    assert (train.subsets, test.subsets) == ({1: "train"}, {1: "test"})
    assert test.place == "testlist01.txt, line 2"


def test_a_video_outside_any_class_folder_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"trainlist01.txt, line 1: expected `<class>/<file>`"):
        parse_ucf_list("v_YoYo_g08_c01.avi 101\n", source="trainlist01.txt", split=1, subset="train")


def test_hmdb_numbers_mean_unused_train_and_test() -> None:
    text = "a b_wave_u_nm_np1_fr_med_0.avi 1 \nb.avi 2\nc.avi 0\n"
    entries = parse_hmdb_list(text, source="wave_test_split2.txt", split=2, class_name="wave")
    assert [found.subsets for found in entries] == [{2: "train"}, {2: "test"}, {2: ""}]
    assert entries[0].path == "wave/a b_wave_u_nm_np1_fr_med_0.avi"


@pytest.mark.parametrize("content", ["a.avi 3", "a.avi", "1", "a.avi 12"])
def test_a_line_of_another_form_is_refused_with_its_place(content: str) -> None:
    with pytest.raises(DatasetError, match=r"^wave_test_split1.txt, line 2: .*" + re.escape(content)):
        parse_hmdb_list(f"x.avi 1\n{content}\n", source="wave_test_split1.txt", split=1, class_name="wave")


def test_a_table_may_bring_groups_and_several_splits() -> None:
    text = 'video,class,group,split_1,split_2\r\n"a,1.mp4",Run,g1,train,test\r\nb.mp4,NA,,val,\r\n'
    first, second = parse_table(text, source="t.csv")
    assert (first.path, first.class_name, first.group) == ("a,1.mp4", "Run", "g1")
    assert first.subsets == {1: "train", 2: "test"}
    assert (second.class_name, second.group, second.subsets) == ("NA", "", {1: "val", 2: ""})
    assert second.place == "t.csv, line 3"


def test_a_tab_in_the_header_makes_a_tsv() -> None:
    (found,) = parse_table("class\tvideo\tsplit\nRun, fast\tx.avi\ttest\n", source="t")
    assert (found.class_name, found.path, found.subsets) == ("Run, fast", "x.avi", {1: "test"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a column `video`"),
        ("video\na.avi\n", "line 1: expected a column `class`"),
        (
            "video,class,Split\na.avi,A,train\n",
            "unknown or repeated column `Split`; the nearest one is `split`",
        ),
        ("video,class,class\na.avi,A,A\n", "repeated column `class`"),
        ("video,class,split,split_1\na.avi,A,train,train\n", "found both"),
        ("video,class\na.avi\n", "line 2: expected 2 cells"),
        ("video,class\na.avi,\n", "line 2: expected a name"),
        ("video,class\n,A\n", "line 2: expected a name"),
        (
            "video,class,split\na.avi,A,training\n",
            "split: expected train, val, test or nothing, found `training`",
        ),
        ('video,class\n"a.avi,A\n', "no CSV or TSV"),
        ('video,class\n"a\nb.avi",A\n', "line 3: expected a name without"),
    ],
)
def test_a_table_at_fault_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=f"^t.csv, .*{re.escape(message)}") as caught:
        parse_table(text, source="t.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["../a.avi", "a/../../b.avi", "/a.avi", "a\0.avi", "a\tb.avi", "a\nb.avi", "", "/", ".", "a/..", "b\udcff.avi"],
)
def test_a_path_that_leaves_the_root_or_breaks_a_table_is_refused(path: str) -> None:
    with pytest.raises(DatasetError, match=r"^list, line 3: expected"):
        check_video_path(path, place="list, line 3")


@pytest.mark.parametrize("path", ["a", "a.txt", "a/.avi", "a.avi/b", "a.avi.zip"])
def test_a_file_that_is_no_video_by_its_name_is_refused(path: str) -> None:
    with pytest.raises(DatasetError, match="with a suffix such as"):
        check_video_path(path, place="list")


def test_one_video_has_one_form_of_its_path() -> None:
    assert check_video_path("./A//b/./v.1.AVI", place="") == "A/b/v.1.AVI"
    assert video_id_of("A/b/v.1.AVI") == "A/b/v.1"


def test_the_official_lists_of_ucf101_give_the_official_counts(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "ucfTrainTestlist"
    numbers = parse_class_numbers((folder / "classInd.txt").read_text(), source="classInd.txt")
    assert len(numbers) == 101
    assert list(numbers).index("Hammering") < list(numbers).index("HammerThrow")  # not the order of the alphabet
    counts = []
    entries: list[ListEntry] = []
    for split in (1, 2, 3):
        for subset in ("train", "test"):
            name = f"{subset}list0{split}.txt"
            found = parse_ucf_list((folder / name).read_text(), source=name, split=split, subset=subset)
            assert all(numbers[video.class_name] == video.class_number for video in found if subset == "train")
            counts.append(len(found))
            entries += found
    assert counts == [9537, 3783, 9586, 3734, 9624, 3696]
    videos = merge_entries(entries)
    assert len(videos) == 13320
    assert len({video.group for video in videos}) == 101 * 25
    for split in (1, 2, 3):
        sides = {
            subset: {video.group for video in videos if video.subsets[split] == subset} for subset in ("train", "test")
        }
        assert not sides["train"] & sides["test"]


# --- merging


def test_each_split_adds_its_subset_to_the_one_video() -> None:
    train = entry("A/b.avi", subsets={1: "train"})
    videos = merge_entries([entry("A/b.avi", subsets={2: "test"}), entry("A/a.avi", subsets={1: ""}), train])
    assert [(video.video_id, video.subsets) for video in videos] == [
        ("A/a", {1: ""}),
        ("A/b", {2: "test", 1: "train"}),
    ]


def test_a_video_in_train_and_test_of_one_split_is_refused_with_both_places() -> None:
    entries = [entry("A/a.avi", subsets={1: "train"}, line=4), entry("A/a.avi", subsets={1: "test"}, line=9)]
    message = "list, line 9: the video `A/a` is named twice by split 1, as test and train, first in list, line 4"
    with pytest.raises(DatasetError, match=message):
        merge_entries(entries)


def test_a_video_named_twice_is_refused_even_without_splits() -> None:
    with pytest.raises(DatasetError, match=r"line 2: the video `A/a` is named twice, first in list, line 1"):
        merge_entries([entry("A/a.avi", subsets={}), entry("A/a.avi", subsets={}, line=2)])


def test_two_files_that_differ_in_their_suffix_alone_have_one_id_and_are_refused() -> None:
    entries = [entry("A/a.avi", subsets={1: "train"}), entry("A/a.mp4", subsets={2: "train"}, line=2)]
    with pytest.raises(DatasetError, match=r"line 2: `A/a.mp4` and `A/a.avi` \(list, line 1\) have one id, `A/a`"):
        merge_entries(entries)


# --- groups


@pytest.mark.parametrize(
    ("video_id", "class_name", "group"),
    [
        ("YoYo/v_YoYo_g07_c02", "YoYo", "YoYo/g07"),
        ("HandstandPushups/v_HandStandPushups_g25_c07", "HandstandPushups", "HandstandPushups/g25"),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0", "brush_hair", "April_09"),
        ("run/Two_Towers_1_run_f_cm_np1_fr_med_3", "run", "Two_Towers_1"),
        ("hit/Crew__Eisbaden(2007)hit_f_cm_np1_le_bad_3", "hit", "Crew__Eisbaden(2007)"),
        ("fall_floor/Film_fall_f_cm_np2_ri_bad_12", "fall_floor", "Film_fall"),
        ("run/run_f_cm_np1_fr_med_3", "run", "run/run_f_cm_np1_fr_med_3"),
        ("A/holiday", "A", "A/holiday"),
        ("A/v_g1", "A", "A/v_g1"),
    ],
)
def test_a_group_is_the_source_that_a_name_tells_of(video_id: str, class_name: str, group: str) -> None:
    assert group_of(video_id, class_name=class_name) == group


def test_groups_of_two_ucf_classes_are_never_one() -> None:
    assert group_of("A/v_A_g01_c01", class_name="A") != group_of("B/v_B_g01_c01", class_name="B")


# --- drawing

# A group belongs to one class, or to several as a film does in HMDB51.
one_class_each = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 9)), min_size=1, max_size=30).map(
    lambda found: {f"g{i}": {class_name: count} for i, (class_name, count) in enumerate(found)}
)
several_classes = st.lists(
    st.dictionaries(st.sampled_from("ABCD"), st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=20
).map(lambda found: {f"g{i}": counts for i, counts in enumerate(found)})
fractions = st.sampled_from([0.05, 0.2, 0.3, 0.5])


@relaxed
@given(one_class_each, fractions, st.text(max_size=4))
def test_every_class_keeps_a_group_and_gives_one_where_it_has_two(
    members: dict[str, dict[str, int]], fraction: float, salt: str
) -> None:
    drawn = draw_groups(members, fraction=fraction, salt=salt)
    for class_name in "ABC":
        own = {group for group, counts in members.items() if class_name in counts}
        assert not own or own - drawn
        assert len(own) < 2 or own & drawn


@relaxed
@given(several_classes, fractions, st.text(max_size=4))
def test_no_class_loses_its_last_group_even_where_groups_span_classes(
    members: dict[str, dict[str, int]], fraction: float, salt: str
) -> None:
    drawn = draw_groups(members, fraction=fraction, salt=salt)
    for class_name in {name for counts in members.values() for name in counts}:
        assert any(class_name in counts for group, counts in members.items() if group not in drawn)


@relaxed
@given(several_classes, fractions, st.randoms())
def test_the_order_of_the_groups_changes_nothing(members, fraction, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(members.items())
    random.shuffle(shuffled)
    assert draw_groups(dict(shuffled), fraction=fraction, salt="s") == draw_groups(members, fraction=fraction, salt="s")


@relaxed
@given(one_class_each, fractions, st.integers(1, 9))
def test_a_group_of_another_class_changes_nothing(
    members: dict[str, dict[str, int]], fraction: float, count: int
) -> None:
    more = {**members, "other 1": {"D": count}, "other 2": {"D": 1}}
    before = draw_groups(members, fraction=fraction, salt="s")
    after = draw_groups(more, fraction=fraction, salt="s")
    assert after - {"other 1", "other 2"} == before


@relaxed
@given(st.integers(2, 40), fractions, st.text(max_size=4))
def test_a_new_group_of_the_same_class_moves_at_most_one_other(num_groups: int, fraction: float, salt: str) -> None:
    members = {f"g{i}": {"A": 1} for i in range(num_groups)}
    before = draw_groups(members, fraction=fraction, salt=salt)
    after = draw_groups({**members, "new": {"A": 1}}, fraction=fraction, salt=salt)
    assert len((before ^ after) - {"new"}) <= 1


@relaxed
@given(st.lists(st.integers(1, 6), min_size=4, max_size=60), fractions, st.text(max_size=4))
def test_the_share_drawn_is_within_half_a_group_of_the_fraction_asked_for(
    sizes: list[int], fraction: float, salt: str
) -> None:
    members = {f"g{i}": {"A": size} for i, size in enumerate(sizes)}
    drawn = draw_groups(members, fraction=fraction, salt=salt)
    num_drawn = sum(members[group]["A"] for group in drawn)
    wanted = fraction * sum(sizes)
    assert abs(num_drawn - wanted) <= max(sizes) / 2 or len(drawn) == 1


def test_another_seed_draws_other_groups_and_no_fraction_draws_none() -> None:
    members = {f"g{i}": {"A": 3} for i in range(20)}
    draws = {draw_groups(members, fraction=0.2, salt=f"validation {seed} 1") for seed in range(20)}
    assert len(draws) > 15
    assert draw_groups(members, fraction=0, salt="s") == frozenset()


def test_seeds_reach_every_group_about_equally() -> None:
    members = {f"g{i}": {"A": 3} for i in range(10)}
    counts = Counter(group for seed in range(500) for group in draw_groups(members, fraction=0.3, salt=f"{seed}"))
    assert min(counts.values()) > 110  # 150 expected, standard deviation 10
    assert max(counts.values()) < 190


def test_only_videos_of_the_subset_drawn_from_are_moved() -> None:
    videos = [
        LabelledVideo(
            video_id=f"A/{i}", path=f"A/{i}.avi", class_name="A", group=f"g{i % 4}", subsets={1: subset}, place=""
        )
        for i, subset in enumerate(["train"] * 8 + ["test"] * 4 + [""] * 4)
    ]
    moved = draw_subset(videos, split=1, taken_from="train", subset="val", fraction=0.25, salt="s")
    assert Counter(video.subsets[1] for video in moved) == {"train": 6, "val": 2, "test": 4, "": 4}
    assert [video.video_id for video in moved] == [video.video_id for video in videos]
