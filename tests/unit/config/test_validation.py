"""A wrong configuration is refused in words that say what to do."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moclip.config.experiments import Run, list_network_runs, list_runs, list_used
from moclip.config.section import unify_numbers
from moclip.config.validation import check_config, merge_configs, restore_section
from moclip.errors import ConfigError

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    return {
        "dataset": {"name": "toy", "layout": "folders", "root": "videos"},
        "motion": {"original": {}},
        "appearance": {"clip": {"model": "local-dir:x"}, "other": {"model": "local-dir:y"}},
        "text": {"prompts": {"appearance": "clip", "templates": "t.yaml", "phrases": "p.yaml"}},
        "motion_network": {"net": {"motion": "original", "backbone": "efficientnet_b0", "weights": "none"}},
        "head": {"mlp": {}},
        "experiments": {"e": {"appearance": "clip", "motion_network": "net", "text": "prompts", "head": "mlp"}},
    }


def test_defaults_are_filled_in_at_every_depth_and_the_input_is_left_alone(config: Config) -> None:
    before = copy.deepcopy(config)
    complete = check_config(config).canonical()
    assert complete["motion_network"]["net"]["train"]["multipliers"] == {"classifier": 1, "stem": 0.1, "rest": 0.01}
    assert complete["dataset"]["num_shards"] == 8
    assert config == before


def test_the_defaults_are_the_papers_recipe(config: Config) -> None:
    complete = check_config(config).canonical()
    train = complete["motion_network"]["net"]["train"]
    assert (train["learning_rate"], train["adam_epsilon"], train["weight_decay"]) == (0.01, 1e-3, 1e-4)
    assert (train["epochs"], train["batch_size"], train["milestones"]) == (200, 80, [80, 160])
    head = complete["head"]["mlp"]
    assert (head["hidden"], head["dropout"], head["learning_rate"]) == (512, 0.5, 1e-4)
    assert (head["epochs"], head["batch_size"]) == (100, 64)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("dataset", "fingerprnt"), "stat", "unknown key `fingerprnt`; the nearest known key is `fingerprint`"),
        (("motion_network", "net", "train", "epoch"), 3, "motion_network.net.train: unknown key `epoch`"),
        (("head", "mlp", "learning_rate"), "1e-3", "write 0.001"),
        (("head", "mlp", "dropout"), 1.5, "head.mlp.dropout: expected at most 0.95; found 1.5"),
        (("dataset", "layout"), "ucf", "expected one of ucf101, hmdb51, folders, table; found 'ucf'"),
        (("experiments", "e", "head"), "mpl", "expected a variant of `head`, found `mpl`; the nearest one is `mlp`"),
        (("experiments", "e", "appearance"), "other", "expected class embeddings from the encoder of `appearance`"),
        (("head", "../up"), {}, "found '../up'"),
        (("dataset", "name"), "a/b", "found 'a/b'"),
        (("dataset", "num_shards"), 4.0, "dataset.num_shards: expected an integer; found 4.0"),
        (("dataset", "num_shards"), 10**400, "expected at most 10000; found a number of very many digits"),
        (("dataset", "validation_fraction"), float("nan"), "expected a finite number; found nan"),
        (("dataset", "validation_seed"), -1, "dataset.validation_seed: expected at least 0; found -1"),
        (("dataset", "root"), "a\nb", r"dataset.root: expected text without control characters; found 'a\nb'"),
        (("dataset", "limits"), None, "dataset.limits: expected keys and values; found None"),
        (("dataset", 7), 1, "dataset: expected a key that is text; found 7"),
        (("appearance", "clip", "untrained"), 1, "appearance.clip.untrained: expected `true` or `false`; found 1"),
        (
            ("motion_network", "net", "test"),
            {},
            "motion_network.net: the key `test` is named `embedding` now; rename it",
        ),
        (("motion_network", "net", "embedding", "crops"), True, "crops: expected one of 1, 5; found 'True'"),
        (("motion_network", "net", "train", "scales"), [], "scales: expected at least 1 entry; found []"),
        (("motion_network", "net", "train", "scales"), [2], "train.scales.0: expected at most 1; found 2"),
        (("experiments", "e", "seeds"), [1, 1], "experiments.e.seeds: expected no entry twice; found [1, 1]"),
        (("experiments", "e", "matrix", "shots"), [{}], "matrix.shots.0: expected text, a number, `true`, `false` or"),
        (("experiments", "e", "matrix", "epochs"), [1], "expected one of appearance, motion_network, text"),
    ],
)
def test_a_wrong_key_or_value_is_named(config: Config, place: tuple[str, ...], value: object, expected: str) -> None:
    section = config
    for key in place[:-1]:
        section = section.setdefault(key, {})
    section[place[-1]] = value
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert expected in str(caught.value)


def test_all_faults_are_told_at_once(config: Config) -> None:
    config["dataset"]["rot"] = "x"
    config["head"]["mlp"]["epochs"] = 0
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_section_is_named_and_files_that_complete_each_other_are_shown(config: Config) -> None:
    del config["head"]
    with pytest.raises(ConfigError, match=r"the key `head` is missing.*--configfile config/config\.yaml mine\.yaml"):
        check_config(config)


def test_a_later_file_wins_at_every_depth_and_keeps_what_it_does_not_name(config: Config) -> None:
    paths = {"cache_dir": "/fast", "dataset": {"root": "/data"}, "experiments": {"e": {"seeds": [7]}}}
    settings = check_config(merge_configs([config, paths]))
    assert (settings.cache_dir, settings.dataset.root, settings.dataset.name) == ("/fast", "/data", "toy")
    assert (settings.experiments["e"].seeds, settings.experiments["e"].head) == ((7,), "mlp")


def test_settings_survive_their_canonical_form_and_cannot_be_changed(config: Config) -> None:
    settings = check_config(config)
    assert check_config(settings.canonical()) == settings
    assert (
        "text"
        not in check_config(
            {**config, "experiments": {"e": {"methods": ["motion"], "motion_network": "net"}}}
        ).canonical()["experiments"]["e"]
    )
    with pytest.raises(ValidationError):
        settings.cache_dir = "elsewhere"  # type: ignore[misc]


def test_a_method_needs_what_it_reads(config: Config) -> None:
    del config["experiments"]["e"]["text"]
    with pytest.raises(ConfigError, match="key `text` is missing, and the method `zero_shot` needs it"):
        check_config(config)
    config["experiments"]["e"]["methods"] = ["fusion", "motion"]
    check_config(config)


def test_runs_are_experiments_by_splits_by_seeds(config: Config) -> None:
    config["experiments"]["e"] |= {"splits": [2, 1], "seeds": [5]}
    complete = check_config(config)
    assert list_runs(complete) == (Run(experiment="e", split=1, seed=5), Run(experiment="e", split=2, seed=5))
    assert [run.experiment for run in list_network_runs(complete)] == ["net", "net"]


def test_only_variants_that_an_experiment_uses_are_built(config: Config) -> None:
    config["motion"]["unused"] = {}
    config["experiments"]["e"]["methods"] = ["zero_shot"]
    complete = check_config(config)
    assert list_used(complete, "appearance") == ("clip",)
    assert list_used(complete, "motion") == ()
    assert list_network_runs(complete) == ()


def test_a_head_says_what_it_cannot_do(config: Config) -> None:
    config["head"]["pooled"] = {"kind": "attention", "pooling": "first"}
    config["head"]["near"] = {"kind": "knn", "views": True, "select": "last"}
    config["head"]["mlp"]["views"] = True
    with pytest.raises(ConfigError) as raised:
        check_config(config)
    told = str(raised.value)
    assert "head.pooled.pooling: `attention` pools the frames itself" in told
    assert "head.near.views: `knn` has no epochs" in told
    assert "head.near.neighbours: `select: last` chooses none of them; list one" in told
    assert "its head draws views of motion and there are none" in told


def test_a_key_of_another_kind_of_head_is_refused_and_is_in_no_digest(config: Config) -> None:
    config["head"]["mlp"]["form"] = "conv"
    config["head"]["moving"] = {"kind": "temporal", "form": "transformer", "width": 33}
    with pytest.raises(ConfigError) as raised:
        check_config(config)
    assert "head.moving.width: expected a multiple of 32; found 33" in str(raised.value)
    config["head"]["moving"]["width"] = 32
    with pytest.raises(ConfigError) as raised:
        check_config(config)
    assert "head.mlp.form: `mlp` does not read this key, only `temporal` does; drop it" in str(raised.value)
    del config["head"]["mlp"]["form"]
    heads = check_config(config).canonical()["head"]
    assert "form" not in heads["mlp"]
    assert (heads["moving"]["form"], heads["moving"]["layers"]) == ("transformer", 2)


def test_shuffled_frames_are_a_control_of_heads_that_read_frames(config: Config) -> None:
    experiment = next(iter(config["experiments"].values()))
    experiment["methods"] = ["appearance", "shuffled_frames"]
    with pytest.raises(ConfigError, match="`shuffled_frames` needs a head that reads every frame"):
        check_config(config)
    config["head"][experiment["head"]] = {"kind": "attention"}
    check_config(config)


# Python prints -0.0 and 2e1 apart from 0 and 20; JSON, and with it every key, follows.
@pytest.mark.parametrize("value", [20, 20.0])
def test_every_spelling_of_a_number_gives_one_configuration(value: float, config: Config) -> None:
    config["motion_network"]["net"] |= {"max_px": value, "train": {"scales": [1.0, 0.5], "weight_decay": -0.0}}
    complete = check_config(config).canonical()["motion_network"]["net"]
    assert json.dumps(complete["max_px"]) == "20"
    assert json.dumps([complete["train"][key] for key in ("scales", "weight_decay", "flip")]) == "[[1, 0.5], 0, true]"


@given(
    st.recursive(
        st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=2),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=2), below, max_size=3),
    )
)
def test_numbers_keep_their_value_and_whole_ones_become_integers(value: object) -> None:
    unified = unify_numbers(value)
    assert unified == value
    assert json.dumps(unify_numbers(_as_floats(value))) == json.dumps(unified)


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_floats(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_as_floats(below) for below in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_a_matrix_of_numbers_names_its_experiments_by_value(config: Config) -> None:
    names = []
    for values in ([0.0, 0.5], [0, 0.5], [-0.0, 5e-1]):
        config["experiments"]["e"]["matrix"] = {"head.dropout": values}
        names.append(list(check_config(config).experiments))
    assert names == [["e-dropout-0", "e-dropout-0.5"]] * 3


@pytest.mark.parametrize("name", ["config", "ucf101", "ucf101_5"])
def test_stored_sections_are_restored_as_they_were(name: str, repository: Path) -> None:
    settings = check_config(yaml.safe_load((repository / f"config/{name}.yaml").read_text()))
    for variants in (settings.motion, settings.appearance, settings.motion_network, settings.head):
        for variant in variants.values():
            stored = json.loads(json.dumps(variant.canonical()))
            assert restore_section(type(variant), stored, place="run.yaml") == variant


def test_parts_of_a_section_are_the_same_values_as_in_the_whole(config: Config) -> None:
    dataset = check_config(config).dataset
    whole = dataset.canonical()
    assert dataset.canonical(only={"root", "limits"}) == {key: whole[key] for key in ("root", "limits")}
    assert dataset.canonical(without={"root"}) == {key: value for key, value in whole.items() if key != "root"}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("dataset", "name"), "a b", "expected a name of at most 64 letters, digits, `-` and `_` that starts with"),
        (
            ("experiments", "e/f"),
            {},
            "expected a name of at most 200 letters, digits, `-`, `_` and `.` that",
        ),
        (("dataset", "groups"), "scene", "expected a pattern with a part in parentheses, which names the group"),
        (("dataset", "groups"), "(scene", "expected `folder:LEVEL` or a regular expression (missing ), unterminated"),
        (("dataset", "groups"), "folder:0", "expected a pattern with a part in parentheses"),
        (("dataset", "splits"), {"folds": 1}, "dataset.splits.folds: expected 2 folds or more"),
        (("dataset", "near_duplicates"), {"similarity": 0}, "similarity: expected more than 0; found 0"),
        (("experiments", "e", "methods"), ["fusoin"], "found 'fusoin'; the nearest one is `fusion`"),
    ],
)
def test_patterns_are_said_in_words_and_choices_with_the_nearest(
    config: Config, place: tuple[str, ...], value: object, expected: str
) -> None:
    section = config
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = value
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert expected in str(caught.value)
    assert "^" not in str(caught.value)


def test_every_missing_key_has_a_line_and_the_advice_about_files_stands_once(config: Config) -> None:
    del config["motion"], config["head"], config["dataset"]["name"], config["dataset"]["root"]
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    lines = str(caught.value).splitlines()
    assert [line.split(" is missing")[0] for line in lines] == [
        "config: dataset: the key `name`",
        "config: dataset: the key `root`",
        "config: top level: the key `head`",
        "config: top level: the key `motion`",
    ]
    assert ["--configfile" in line for line in lines] == [False, False, False, True]


def test_a_key_that_several_methods_need_is_named_once(config: Config) -> None:
    config["experiments"]["e"] = {"motion_network": "net", "methods": ["fusion", "appearance", "motion"]}
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "key `appearance` is missing, and the methods `fusion`, `appearance` need it" in lines[0]
    assert "key `head` is missing, and the methods `fusion`, `appearance` need it" in lines[1]


def test_experiments_without_splits_run_on_all_folds(config: Config) -> None:
    config["dataset"]["splits"] = {"folds": 5}
    config["experiments"]["f"] = {**config["experiments"]["e"], "splits": [2, 4]}
    config["experiments"]["m"] = {**config["experiments"]["e"], "matrix": {"shots": [1, 2]}}
    complete = check_config(config)
    found = {name: entry.splits for name, entry in complete.experiments.items()}
    every = (1, 2, 3, 4, 5)
    assert found == {"e": every, "f": (2, 4), "m-shots-1": every, "m-shots-2": every}
    assert check_config(complete.canonical()) == complete
    config["experiments"]["f"]["splits"] = [6]
    with pytest.raises(ConfigError, match=r"experiments\.f\.splits: expected splits from 1 to 5"):
        check_config(config)


@pytest.mark.parametrize("changes", [{"splits": {"folds": 3}}, {"near_duplicates": {"keep_together": True}}])
def test_layouts_with_splits_take_no_rule_to_draw_them(config: Config, changes: Config) -> None:
    config["dataset"] |= {"layout": "ucf101", "lists": "lists", **changes}
    with pytest.raises(ConfigError, match="the lists of `ucf101` bring splits"):
        check_config(config)


def test_keys_that_are_not_used_leave_the_configuration_as_it_was(config: Config) -> None:
    spelled = {**config["dataset"], "groups": "", "splits": {"folds": 0}, "near_duplicates": {"similarity": 0.8}}
    plain = check_config(config).canonical()
    assert check_config({**config, "dataset": spelled}).canonical() == plain
    assert not {"groups", "splits", "near_duplicates"} & plain["dataset"].keys()


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"dataset": {"num_shards": "3"}}, lambda settings: settings.dataset.num_shards == 3),
        ({"dataset": {"validation_fraction": "0.5"}}, lambda settings: settings.dataset.validation_fraction == 0.5),
        ({"head": {"mlp": {"refit": "true"}}}, lambda settings: settings.head["mlp"].refit is True),
        ({"experiments": {"e": {"seeds": ["5", "6"]}}}, lambda s: s.experiments["e"].seeds == (5, 6)),
        # Text stays text, also where it looks like a number.
        ({"dataset": {"name": "16"}}, lambda settings: settings.dataset.name == "16"),
    ],
)
def test_text_of_the_command_line_takes_the_type_of_its_key(config: Config, overrides: Config, found: Any) -> None:
    merged = merge_configs([config, overrides])
    assert found(check_config(merged, overrides=overrides))


def test_text_that_has_not_the_type_of_its_key_is_refused_wherever_it_comes_from(config: Config) -> None:
    overrides = {"dataset": {"num_shards": "many"}}
    with pytest.raises(ConfigError, match=r"dataset\.num_shards: expected an integer; found 'many'"):
        check_config(merge_configs([config, overrides]), overrides=overrides)
    quoted = merge_configs([config, {"dataset": {"num_shards": "3"}}])
    with pytest.raises(ConfigError, match=r"dataset\.num_shards: expected an integer; found '3'"):
        check_config(quoted)
