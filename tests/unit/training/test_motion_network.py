"""The recipe is applied to the number, and a training that is killed goes on to the same bits."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from moclip.config.validation import check_config
from moclip.core.tensors import read_note
from moclip.encoders.motion_network import build_network
from moclip.encoders.runtime import prepare_torch
from moclip.errors import DatasetError, ModelError
from moclip.report.experiment import write_network_curve
from moclip.training.motion_network import _Trainer, train_motion_network
from moclip.training.motion_stage import train_network
from tests.unit.encoders.motion_networks import TRAIN, samples, variant, write_dataset


def trainer(**train: Any) -> _Trainer:
    prepare_torch(threads=1)
    return _Trainer(num_classes=2, variant=variant(train={**TRAIN, **train}), seed=0)


def one_step(trained: _Trainer) -> dict[str, float]:
    """Take one step and return the largest change of a parameter of each part."""
    before = {name: value.detach().clone() for name, value in trained.network.named_parameters()}
    trained._train(1, samples(4))
    moved: dict[str, float] = {}
    for name, value in trained.network.named_parameters():
        stem = name.startswith(("input_norm.", "backbone.conv_stem."))
        part = "classifier" if name.startswith("classifier.") else "stem" if stem else "rest"
        moved[part] = max(moved.get(part, 0.0), float((value.detach() - before[name]).abs().max()))
    return moved


def test_one_step_moves_each_part_by_its_own_learning_rate() -> None:
    # With an epsilon of nothing the first step of Adam is the learning rate itself, whatever the gradient.
    moved = one_step(trainer(adam_epsilon=1e-30, weight_decay=0.0, dropout=0.0))
    assert moved == pytest.approx({"classifier": 0.01, "stem": 0.001, "rest": 0.0001}, rel=0.01)
    still = one_step(trainer(multipliers={"classifier": 1.0, "stem": 0.0, "rest": 0.0}, adam_epsilon=1e-30))
    assert (still["stem"], still["rest"]) == (0.0, 0.0)
    assert still["classifier"] > 0.009


@pytest.mark.parametrize("decays", [True, False])
def test_norms_and_biases_decay_only_when_asked(decays: bool) -> None:
    groups = trainer(decay_norm_and_bias=decays).optimizer.param_groups
    of_vectors = {group["weight_decay"] for group in groups if any(p.ndim == 1 for p in group["params"])}
    of_kernels = {group["weight_decay"] for group in groups if any(p.ndim > 1 for p in group["params"])}
    assert of_vectors == {1e-4 if decays else 0.0}
    assert of_kernels == {1e-4}
    assert sum(len(group["params"]) for group in groups) == len(list(trainer().network.parameters()))


def test_the_shipped_configurations_share_the_recipe_that_the_authors_code_has(repository: Path) -> None:
    for name in ("ucf101", "ucf101-authors", "hmdb51"):
        config = check_config(yaml.safe_load((repository / f"config/{name}.yaml").read_text())).canonical()
        network = config["motion_network"]["efficientnet-b0"]
        assert config["motion"][network["motion"]]["source"] == "transcode"
        assert network["field"] | {"upright": True} == {
            "kind": "accumulated",
            "window": 0,
            "stride": 1,
            "compensate_camera": False,
            "upright": True,
        }
        assert (network["max_px"], network["input_px"], network["rescale_vectors"]) == (20, 224, False)
        assert network["weights"].startswith("timm:")
        train = network["train"]
        assert train["multipliers"] == {"classifier": 1, "stem": 0.1, "rest": 0.01}
        assert (train["learning_rate"], train["adam_epsilon"], train["weight_decay"]) == (0.01, 1e-3, 1e-4)
        assert (train["epochs"], train["batch_size"], train["milestones"]) == (200, 80, [80, 160])
        assert (train["num_segments"], train["scales"], train["flip"]) == (3, [1, 0.875, 0.75], True)
        assert network["embedding"]["num_segments"] == 25


def test_the_configuration_of_the_authors_code_follows_it_where_ours_differs(repository: Path) -> None:
    page = (repository / "docs/authors.md").read_text()
    ours, theirs = (
        check_config(yaml.safe_load((repository / f"config/{name}.yaml").read_text()))
        for name in ("ucf101", "ucf101-authors")
    )
    found = [
        (
            network.geometry,
            network.train.segment_crops,
            network.train.dropout,
            network.train.classifier_init,
            network.train.decay_norm_and_bias,
            network.select,
            (network.embedding.crops, network.embedding.flips),
            settings.head["mlp"].views,
            settings.appearance["clip-b32"].frames.policy,
            settings.dataset.validation_fraction,
        )
        for settings in (ours, theirs)
        for network in settings.motion_network.values()
    ]
    assert found == [
        ("crop", False, 0.5, "normal", False, "val", (1, False), False, "middle", 0.2),
        ("squash", True, 0.0, "linear", True, "last", (5, True), True, "random", 0.0),
    ]
    assert theirs.motion_network["efficientnet-b0"].embedding.views.num_segments == 3
    keys = ("geometry", "segment_crops", "dropout", "classifier_init", "decay_norm_and_bias", "select", "frames.policy")
    assert [key for key in keys if key not in page] == []


def test_the_classifier_starts_as_tsn_or_as_torch_does() -> None:
    inits = ("normal", "linear")
    classifiers = {init: trainer(classifier_init=init).network.classifier.requires_grad_(False) for init in inits}
    bound = classifiers["linear"].in_features ** -0.5
    assert float(classifiers["normal"].weight.std()) == pytest.approx(0.001, rel=0.2)
    assert float(classifiers["normal"].bias.abs().max()) == 0
    # torch's default is uniform between the negative and positive bound.
    assert float(classifiers["linear"].weight.abs().max()) == pytest.approx(bound, rel=0.05)
    assert float(classifiers["linear"].weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert 0 < float(classifiers["linear"].bias.abs().max()) <= bound


def test_a_step_in_bf16_is_near_one_in_fp32() -> None:
    losses = {
        precision: trainer(precision=precision, dropout=0.0)._train(1, samples(4))[0] for precision in ("fp32", "bf16")
    }
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.05)


def test_weights_with_folded_norms_are_refused_unless_the_norms_are_frozen(tmp_path: Path) -> None:
    folded = build_network("test_efficientnet", weights="none", num_classes=2, dropout=0.0).backbone.state_dict()
    stem = folded["conv_stem.weight"]
    for name, value in folded.items():
        if name.endswith(".bias"):
            value.fill_(0.5)
    folded["conv_stem.weight"] = stem[:, :1].repeat(1, 3, 1, 1)
    path = tmp_path / "folded.safetensors"
    save_file({name: value.contiguous() for name, value in folded.items()}, path)
    with pytest.raises(ModelError, match=r"folded into its convolutions.*freeze_norm: true"):
        _Trainer(num_classes=2, variant=variant(weights=str(path)), seed=0)
    _Trainer(num_classes=2, variant=variant(weights=str(path), train={**TRAIN, "freeze_norm": True}), seed=0)


@pytest.mark.shared
def test_the_norms_of_the_shared_mobilenet_are_folded(shared_dir: Path) -> None:
    weights = str(shared_dir / "weights/mobilenetv2-imagenet/open_clip_model.safetensors")
    settings = variant(backbone="mobilenetv2_100", weights=weights)
    frozen = variant(backbone="mobilenetv2_100", weights=weights, train={**TRAIN, "freeze_norm": True})
    with pytest.raises(ModelError, match="folded into its convolutions"):
        _Trainer(num_classes=2, variant=settings, seed=0)
    _Trainer(num_classes=2, variant=frozen, seed=0)


def test_the_number_of_loaders_changes_no_bit(tmp_path: Path) -> None:
    prepare_torch(threads=1)
    states = [
        train_motion_network(
            samples(12),
            samples(4, start=100),
            num_classes=2,
            variant=variant(loaders=loaders, train={**TRAIN, "epochs": 2, "flip": True}),
            seed=0,
            checkpoint=tmp_path / f"{loaders}",
        ).network.state_dict()
        for loaders in (1, 3)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


TRAINING = """
import sys, time
from pathlib import Path
from moclip.training import motion_network as motion_training
from moclip.report.experiment import write_network_curve
from moclip.training.motion_stage import train_network
from tests.unit.encoders.motion_networks import variant

folder, stop_at = Path(sys.argv[1]), int(sys.argv[2])
step, count = motion_training._Trainer._step, 0

def counted(self, *arguments):
    global count
    count += 1
    if count == stop_at:
        print("in the middle", flush=True)
        time.sleep(600)
    return step(self, *arguments)

motion_training._Trainer._step = counted
train_network(folder / "model", history=folder / "history.tsv", split=1, seed=0,
              manifest=folder / "manifest.tsv", motion_index=folder / "motion/index.json", variant=variant(),
              cache_dir=folder / "cache")
print("steps", count, flush=True)
"""


def run_training(folder: Path, repository: Path, *, stop_at: int = 0) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), *filter(None, sys.path)])}
    command = [sys.executable, "-c", TRAINING, str(folder), str(stop_at)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_a_training_killed_in_the_middle_of_an_epoch_gives_the_bytes_of_one_that_was_not(
    tmp_path: Path, repository: Path
) -> None:
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        write_dataset(folder)
    whole, killed = folders
    train_dataset(whole)
    with run_training(killed, repository, stop_at=5) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        process.kill()
    assert not (killed / "model").exists()
    assert len(list((killed / "cache/training").glob("*"))) == 1
    with run_training(killed, repository) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "steps 6\n"  # of 9: 12 videos, 4 a step, 3 epochs
    for name in ("model", "history.tsv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    assert not list((killed / "cache/training").glob("*"))


def train_dataset(folder: Path, **changes: Any) -> None:
    train_network(
        folder / "model",
        history=folder / "history.tsv",
        manifest=folder / "manifest.tsv",
        motion_index=folder / "motion/index.json",
        variant=variant(**changes),
        split=1,
        seed=0,
        cache_dir=folder / "cache",
    )


def test_a_trained_network_notes_its_training_videos_and_draws_its_curve(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    train_dataset(tmp_path, train={**TRAIN, "epochs": 2})
    about = read_note(tmp_path / "model")
    assert about["train"] == sorted(f"v{n}" for n in range(12))
    assert set(about["trained_on"]) == {f"v{n}" for n in range(16)}
    assert (tmp_path / "history.tsv").read_text().count("\n") == 3
    write_network_curve(tmp_path / "curve.svg", history=tmp_path / "history.tsv", title="a network")
    assert (tmp_path / "curve.svg").read_text().count("stroke-dasharray") == 2 * 2  # two lines, and their keys
    with pytest.raises(DatasetError, match="expected the history of a motion network"):
        write_network_curve(tmp_path / "curve.svg", history=tmp_path / "model", title="no history")


def test_another_test_video_trains_the_same_network(tmp_path: Path) -> None:
    for num_test in (4, 5):
        write_dataset(tmp_path / str(num_test), num_test=num_test)
        train_dataset(tmp_path / str(num_test), train={**TRAIN, "epochs": 1})
    assert (tmp_path / "4/model").read_bytes() == (tmp_path / "5/model").read_bytes()


def test_without_memory_for_its_motion_a_training_reads_the_shards_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kept in (("kept", 2**30), ("read", 0)):
        monkeypatch.setattr("moclip.training.motion_files._KEPT_BYTES", kept)
        write_dataset(tmp_path / name)
        train_dataset(tmp_path / name, train={**TRAIN, "epochs": 1})
    assert (tmp_path / "kept/model").read_bytes() == (tmp_path / "read/model").read_bytes()


def test_equal_content_trains_once_for_any_name_and_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write_dataset(tmp_path)
    weights = tmp_path / "weights.safetensors"
    backbone = timm.create_model("test_efficientnet", num_classes=0)
    save_file({name: value.contiguous() for name, value in backbone.state_dict().items()}, weights)
    settings: dict[str, Any] = {"train": {**TRAIN, "epochs": 1, "freeze_norm": True}, "weights": str(weights)}
    train_dataset(tmp_path, **settings)
    fresh = {name: (tmp_path / name).read_bytes() for name in ("model", "history.tsv")}
    assert caplog.messages.count("network trained") == 1
    moved = weights.rename(tmp_path / "elsewhere.safetensors")
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text(manifest.read_text().replace("\tc1\t", "\trenamed\t"))
    for name in fresh:
        (tmp_path / name).unlink()
    train_dataset(tmp_path, **{**settings, "weights": str(moved)}, motion="another name", loaders=1, embedding={})
    assert {name: (tmp_path / name).read_bytes() for name in fresh} == fresh
    (tmp_path / "model").write_bytes(b"edited by hand")
    train_dataset(tmp_path, **{**settings, "weights": str(moved)})
    assert (tmp_path / "model").read_bytes() == fresh["model"]
    assert [line for line in caplog.messages if line.startswith("network t")] == [
        "network trained",
        *["network taken from the cache"] * 2,
    ]


def test_a_network_from_the_cache_notes_the_groups_as_a_fresh_one_does(tmp_path: Path) -> None:
    for name in ("fresh", "cached"):
        write_dataset(tmp_path / name)
        manifest = tmp_path / name / "manifest.tsv"
        if name == "cached":
            train_dataset(tmp_path / name, train={**TRAIN, "epochs": 1})
        manifest.write_text(manifest.read_text().replace("\tg3\t", '\tn\u00e9w "g"\\\t'))
        train_dataset(tmp_path / name, train={**TRAIN, "epochs": 1})
    assert (tmp_path / "cached/model").read_bytes() == (tmp_path / "fresh/model").read_bytes()
    assert 'n\u00e9w "g"\\' in read_note(tmp_path / "cached/model")["trained_on_groups"]


def test_a_damaged_network_in_the_cache_is_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dataset(tmp_path)
    train_dataset(tmp_path, train={**TRAIN, "epochs": 1})
    fresh = (tmp_path / "model").read_bytes()
    (entry,) = (tmp_path / "cache/networks").glob("[!.]*")
    (entry / "model.safetensors").write_bytes(fresh[:-1] + b"x")
    train_dataset(tmp_path, train={**TRAIN, "epochs": 1})
    assert "a damaged entry of the cache" in caplog.text
    assert (tmp_path / "model").read_bytes() == (entry / "model.safetensors").read_bytes() == fresh


def test_a_cache_that_cannot_be_written_fails_the_job_and_keeps_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_dataset(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("moclip.training.motion_stage.keep", full)
        with pytest.raises(OSError, match="No space left"):
            train_dataset(tmp_path, train={**TRAIN, "epochs": 2})
    monkeypatch.setattr("moclip.training.motion_network._Trainer.run_epoch", full)
    train_dataset(tmp_path, train={**TRAIN, "epochs": 2})
    assert read_note(tmp_path / "model")["best_epoch"] in {1, 2}
