"""The change table of the plan: the rules whose params a key changes by itself, without the content of any file."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workflow.test_plan import build_plan, load_config, wide_config

# The key of `wide_config`, its new value, and the rules. All others follow by content alone. `report` shows every key.
TABLE: tuple[tuple[str, Any, str], ...] = (
    ("dataset.classes", ["StarBouncing", "StarSliding"], "manifest"),
    ("dataset.validation_seed", 7, "manifest"),
    ("dataset.root", "elsewhere/videos", "demo_dataset"),
    ("dataset.generate", "order", "demo_dataset manifest"),
    ("dataset.on_bad_video", "fail", "motion_shard appearance_shard"),
    ("dataset.limits.memory_mb", 9999, "motion_shard appearance_shard"),
    ("dataset.rejected_test_videos", "leave_out", "evaluate comparisons summary"),
    ("motion.original.source", "transcode", "motion_shard motion_index"),
    ("appearance.demo-clip.batch_size", 7, "appearance_shard appearance_index evaluate costs"),
    ("appearance.demo-clip.frames.count", 3, "appearance_shard appearance_index evaluate costs"),
    ("appearance.demo-clip.device", "cuda", "appearance_shard appearance_index text evaluate costs"),
    ("motion_network.tiny.max_px", 11, "motion_network motion_embedding_shard motion_embedding_index evaluate costs "
     "motion_pictures"),
    ("motion_network.tiny.train.epochs", 99, "motion_network evaluate costs"),
    ("motion_network.tiny.embedding.num_segments", 2, "motion_embedding_shard motion_embedding_index evaluate costs"),
    ("motion_network.tiny.loaders", 3, "evaluate costs"),
    ("head.mlp.learning_rate", 0.5, "head evaluate"),
    ("report.pictures", 3, "motion_pictures"),
    ("report.mistakes", 3, "mistakes"),
    ("cache_dir", "another/cache", ""),
)  # fmt: skip


def change(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *parents, key = path.split(".")
    section = changed
    for parent in parents:
        section = section[parent]
    assert key in section or path == "dataset.classes", f"{path}: no such key"
    section[key] = value
    return changed


def params_of(config: dict[str, Any], folder: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]]:
    plan = build_plan(config, cache_dir=folder)
    return {(job.rule, tuple(sorted(job.wildcards.items()))): job.params() for job in plan.jobs}


@pytest.mark.parametrize(("path", "value", "rules"), TABLE, ids=[path for path, _, _ in TABLE])
def test_a_key_changes_the_params_of_its_rules(
    path: str, value: Any, rules: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = params_of(wide_config(), tmp_path)
    after = params_of(change(wide_config(), path, value), tmp_path)
    assert before.keys() == after.keys()
    found = {rule for (rule, _), params in before.items() if params != after[rule, _]}
    assert found - {"report"} == set(rules.split())


@pytest.mark.parametrize("name", ["config", "ucf101", "ucf101_5", "hmdb51"])
def test_the_order_of_keys_changes_no_params_but_those_of_the_order_of_experiments(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(name)
    turned = {key: config[key] for key in reversed(config)}
    for section in ("motion", "appearance", "motion_network", "head", "text"):
        turned[section] = dict(reversed(turned[section].items()))
    assert params_of(config, tmp_path) == params_of(turned, tmp_path)
