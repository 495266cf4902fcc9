"""Prompts: templates filled with the phrases of every class."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.dataset.lists import parse_class_numbers
from moclip.encoders.prompts import build_class_prompts, phrases_from_class_names, split_class_name
from moclip.errors import ConfigError

relaxed = settings(deadline=None)
TEMPLATES = ["a photo of {}.", "{} in a film"]
PHRASES = {"Lunges": ["a person doing lunges", "a bent knee"], "YoYo": ["a yo-yo"]}

HMDB51 = (
    "brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat fall_floor fencing "
    "flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour pullup punch push pushup ride_bike "
    "ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit situp smile smoke somersault stand swing_baseball "
    "sword sword_exercise talk throw turn walk wave"
)


def load(repository: Path, name: str) -> dict[str, list[str]]:
    document: dict[str, list[str]] = yaml.safe_load((repository / "config" / "prompts" / f"{name}.yaml").read_text())
    return document


def test_every_phrase_fills_every_template() -> None:
    prompts = build_class_prompts(["YoYo", "Lunges"], templates=TEMPLATES, phrases=PHRASES)
    assert prompts == {
        "YoYo": ("a photo of a yo-yo.", "a yo-yo in a film"),
        "Lunges": (
            "a photo of a person doing lunges.",
            "a person doing lunges in a film",
            "a photo of a bent knee.",
            "a bent knee in a film",
        ),
    }


def test_prompts_come_in_the_order_of_the_classes_and_not_of_the_phrases() -> None:
    assert list(build_class_prompts(["YoYo", "Lunges"], templates=TEMPLATES, phrases=PHRASES)) == ["YoYo", "Lunges"]


def test_a_class_without_phrases_is_named_with_the_nearest_key() -> None:
    with pytest.raises(ConfigError, match="`Lunge` has no phrases; the nearest key is `Lunges`"):
        build_class_prompts(["Lunge"], templates=TEMPLATES, phrases=PHRASES)
    with pytest.raises(ConfigError, match="there are none at all"):
        build_class_prompts(["Lunge"], templates=TEMPLATES, phrases={})


@pytest.mark.parametrize("template", ["no slot", "{} and {}", "{name}", "{} {name}", "{} {", "{} }", "", 3])
def test_a_template_has_exactly_one_slot(template: str) -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        build_class_prompts(["YoYo"], templates=[TEMPLATES[0], template], phrases=PHRASES)


@pytest.mark.parametrize("templates", [[], "a photo of {}", None])
def test_templates_are_a_list(templates: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected a list"):
        build_class_prompts(["YoYo"], templates=templates, phrases=PHRASES)


@pytest.mark.parametrize("phrases", ["a yo-yo", [], None, [""], ["  "], [True], 3])
def test_phrases_of_a_class_are_a_list_of_texts(phrases: list[str]) -> None:
    with pytest.raises(ConfigError, match="YoYo: expected"):
        build_class_prompts(["YoYo"], templates=TEMPLATES, phrases={"YoYo": phrases})


def test_a_phrase_may_hold_braces_that_are_not_filled_again() -> None:
    prompts = build_class_prompts(["YoYo"], templates=["see {}"], phrases={"YoYo": ["a {} sign"]})
    assert prompts["YoYo"] == ("see a {} sign",)


def test_class_names_are_split_into_words_only_when_asked_for() -> None:
    prompts = build_class_prompts(["TaiChi"], templates=TEMPLATES[:1], phrases="from_class_names")
    assert prompts == {"TaiChi": ("a photo of tai chi.",)}
    assert phrases_from_class_names(["TaiChi"]) == {"TaiChi": ["tai chi"]}
    with pytest.raises(ConfigError, match="found `class_names`"):
        build_class_prompts(["TaiChi"], templates=TEMPLATES, phrases="class_names")


@pytest.mark.parametrize(
    ("class_name", "words"),
    [
        ("BrushingTeeth", "brushing teeth"),
        ("brush_hair", "brush hair"),
        ("YoYo", "yo yo"),
        ("Lunges", "lunges"),
        ("TVSet", "tv set"),
        ("Serve2Players", "serve 2 players"),
        ("walking-with dog", "walking with dog"),
    ],
)
def test_a_class_name_is_split_into_its_words(class_name: str, words: str) -> None:
    assert split_class_name(class_name) == words


@relaxed
@given(st.lists(st.sampled_from(["walk", "run", "jump", "high"]), min_size=1, max_size=4))
def test_snake_and_camel_case_give_the_same_words(words: list[str]) -> None:
    expected = " ".join(words)
    assert split_class_name("_".join(words)) == expected
    assert split_class_name("".join(word.capitalize() for word in words)) == expected


def test_twelve_templates_are_shipped(repository: Path) -> None:
    templates = load(repository, "templates")["templates"]
    assert len(templates) == len(set(templates)) == 12
    assert build_class_prompts(["YoYo"], templates=templates, phrases=PHRASES)["YoYo"][0] == "a photo of a yo-yo."


@pytest.mark.parametrize(("name", "num_classes"), [("ucf101", 101), ("hmdb51", 51), ("demo", 16)])
def test_no_two_classes_share_a_phrase(repository: Path, name: str, num_classes: int) -> None:
    phrases = load(repository, name)
    every = [phrase for found in phrases.values() for phrase in found]
    assert len(phrases) == num_classes
    assert len(every) == len(set(every))
    prompts = build_class_prompts(list(phrases), templates=load(repository, "templates")["templates"], phrases=phrases)
    assert sum(map(len, prompts.values())) == 12 * len(every)


def test_every_class_of_hmdb51_has_phrases(repository: Path) -> None:
    build_class_prompts(HMDB51.split(), templates=TEMPLATES, phrases=load(repository, "hmdb51"))
    assert list(load(repository, "hmdb51")) == sorted(HMDB51.split())


def test_every_class_of_ucf101_has_phrases_in_the_order_of_its_class_file(repository: Path, shared_dir: Path) -> None:
    text = (shared_dir / "data" / "ucfTrainTestlist" / "classInd.txt").read_text()
    assert tuple(load(repository, "ucf101")) == tuple(parse_class_numbers(text, source="classInd.txt"))


@pytest.mark.parametrize(
    ("class_name", "line"),
    [
        ("16", "16: [a dive]"),
        ("2024-01-01", "2024-01-01: [a dive]"),
        ("1.5", "1.5: [a dive]"),
        ("yes", '"yes": [a dive]'),
    ],
)
def test_a_key_that_yaml_reads_as_no_text_is_taken_as_its_text(class_name: str, line: str) -> None:
    prompts = build_class_prompts([class_name], templates=["{}"], phrases=yaml.safe_load(line))
    assert prompts == {class_name: ("a dive",)}


@pytest.mark.parametrize("class_name", ["yes", "off", "007", "null", "1e3", "0x10"])
def test_a_key_whose_text_yaml_loses_is_to_be_quoted(class_name: str) -> None:
    phrases = yaml.safe_load(f"{class_name}: [a dive]")
    if class_name in phrases:
        assert build_class_prompts([class_name], templates=["{}"], phrases=phrases) == {class_name: ("a dive",)}
    else:
        with pytest.raises(ConfigError, match=f'quote keys .*"{class_name}": '):
            build_class_prompts([class_name], templates=["{}"], phrases=phrases)
