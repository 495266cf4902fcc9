"""The estimate of a whole run: from a configuration and lists alone, by measured rates where there are some."""

from pathlib import Path
from typing import Any

import pytest

from moclip.cache.rates import Meter, note_rate
from moclip.cli.main import main
from moclip.config.settings import AppearanceVariant, Settings
from moclip.config.validation import check_config
from moclip.encoders.clip import load_encoder
from moclip.errors import DatasetError
from moclip.extraction.motion import build_motion_extractor
from moclip.training.mac_counting import count_image_tower, count_macs
from moclip.training.motion_stage import rate_key
from moclip.workflow.budget import StageBudget, Videos, count_videos, list_budgets
from moclip.workflow.feature_sets import pool_of
from tests.shipped import read_shipped

VIDEOS = Videos(num_all=1000, num_train=600, source="")


def load(name: str, cache_dir: Path, **dataset: Any) -> Settings:
    config = read_shipped(name)
    config["dataset"] |= dataset
    return check_config({**config, "cache_dir": str(cache_dir)})


def estimate(settings: Settings) -> dict[str, StageBudget]:
    return {stage.name.split(",")[0]: stage for stage in list_budgets(settings, videos=VIDEOS)}


def write_lists(folder: Path) -> None:
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Jump\n2 Run\n")
    videos = [f"{name}/v_{name}_g{group:02d}_c01.avi" for name in ("Jump", "Run") for group in range(1, 7)]
    train = [f"{path} {1 + path.startswith('Run')}\n" for path in videos if "g01" not in path]
    (folder / "trainlist01.txt").write_text("".join(train))
    (folder / "testlist01.txt").write_text("".join(f"{path}\n" for path in videos if "g01" in path))


def test_videos_are_counted_by_the_lists_before_there_are_any(tmp_path: Path) -> None:
    write_lists(tmp_path / "lists")
    dataset = load("ucf101", tmp_path, root=str(tmp_path / "none"), lists=str(tmp_path / "lists")).dataset
    assert count_videos(dataset, num_videos=None) == Videos(num_all=12, num_train=8, source=f"in {tmp_path / 'lists'}")


def test_a_given_number_of_videos_needs_no_lists_and_missing_lists_ask_for_one(tmp_path: Path) -> None:
    dataset = load("ucf101", tmp_path, lists=str(tmp_path / "none")).dataset
    assert count_videos(dataset, num_videos=500).num_all == 500
    with pytest.raises(DatasetError, match="give the number of videos with --videos"):
        count_videos(dataset, num_videos=None)


@pytest.mark.parametrize(("name", "num_videos"), [("config", 384), ("order", 432)])
def test_rendered_videos_are_counted_before_they_are_rendered(name: str, num_videos: int, tmp_path: Path) -> None:
    assert count_videos(load(name, tmp_path).dataset, num_videos=None).num_all == num_videos


# Multiply-accumulates per image as published by open_clip (docs/model_profile.csv), in 10^9.
@pytest.mark.parametrize(("overlay", "gmacs", "width"), [("b16", 17.6, 512), ("l14", 81.1, 768)])
def test_a_larger_encoder_costs_its_multiply_accumulates(
    overlay: str, gmacs: float, width: int, tmp_path: Path
) -> None:
    stages = estimate(load(f"ucf101-{overlay}", tmp_path))
    small, large = stages["appearance/clip-b32"], stages[f"appearance/clip-{overlay}"]
    assert large.gpu_hours is not None
    assert small.gpu_hours is not None
    assert large.gpu_hours / small.gpu_hours == pytest.approx(gmacs / 4.41, rel=0.01)
    assert large.core_hours > large.gpu_hours
    assert large.num_bytes - small.num_bytes == 1000 * 4 * (width - 512)


def test_siglip2_is_estimated_without_its_tokenizer(tmp_path: Path) -> None:
    assert "110 GMAC" in estimate(load("ucf101-siglip2", tmp_path))["appearance/siglip2"].basis


def test_training_grows_with_epochs_splits_and_seeds(tmp_path: Path) -> None:
    config = read_shipped("ucf101")
    before = estimate(check_config(config))["motion_network/efficientnet-b0"]
    config["motion_network"]["efficientnet-b0"]["train"]["epochs"] = 100
    config["experiments"]["moclip-lite"] |= {"splits": [1], "seeds": [0]}
    after = estimate(check_config(config))["motion_network/efficientnet-b0"]
    assert before.core_hours == pytest.approx(2 * 9 * after.core_hours)
    assert before.num_bytes == pytest.approx(9 * after.num_bytes)


def test_a_rate_of_this_machine_replaces_the_assumed_one_of_the_same_settings_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)  # the demo's encoder has a relative path
    settings = load("config", tmp_path)
    network = settings.motion_network["tiny"]
    assumed = estimate(settings)
    meter = Meter(clock=iter([0.0, 30.0]).__next__)
    meter.start()
    meter.add(10)
    meter.stop()
    for stage, key in (
        ("motion", pool_of(build_motion_extractor(settings.motion["original"]), cache_dir=tmp_path).name),
        ("motion_network", rate_key(network.model_copy(update={"input_px": 128}))),
    ):
        note_rate(tmp_path, stage=stage, key=key, meter=meter)
    measured = estimate(settings)
    assert "measured 3 s" in measured["motion/original"].basis
    assert measured["motion/original"].core_hours == pytest.approx(1000 * 3 / 3600)
    assert measured["motion_network/tiny"] == assumed["motion_network/tiny"]
    note_rate(tmp_path, stage="motion_network", key=rate_key(network), meter=meter)
    trained = estimate(settings)["motion_network/tiny"]
    assert trained.core_hours == pytest.approx(3 * 600 * network.train.epochs * 3 / 3600)


def test_layers_without_weights_count_as_those_with_weights(repository: Path) -> None:
    variant = AppearanceVariant(model=f"local-dir:{repository}/resources/demo-clip")
    model = load_encoder(variant).model
    side = model.visual.image_size
    parameters = sum(each.numel() for each in model.visual.parameters())
    macs = count_macs(lambda: model.encode_image(next(model.parameters()).new_zeros(1, 3, side, side)))
    assert count_image_tower(variant) == (parameters, macs)


def test_the_command_prints_hours_and_gigabytes_before_anything_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [str(repository / f"config/{name}.yaml") for name in ("ucf101", "ucf101-l14")]
    main(["estimate", "--videos", "13320", "--configfile", *files])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("13,320 videos (as given")
    assert any("appearance/clip-l14" in line and "81 GMAC" in line for line in lines)
    assert lines[-1].startswith("total: ")
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="2"):
        main(["estimate", "--videos", "0", "--configfile", *files])
    assert capsys.readouterr().err == "error: --videos: expected at least 1, found 0\n"
