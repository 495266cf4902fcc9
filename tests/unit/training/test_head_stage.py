"""Many heads in one job are the same as each alone; what saw the test, or another split, is refused."""

import pickle
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from moclip.cache.format import Field, Row
from moclip.cache.index import read_index
from moclip.cache.tables import load_stream
from moclip.config.settings import Settings
from moclip.core.digests import digest_file
from moclip.core.tensors import write_tensors
from moclip.encoders.network_notes import read_network_digest
from moclip.errors import DatasetError, ModelError, ShardError
from moclip.evaluation.evaluate import read_metrics
from moclip.evaluation.run_stage import write_run
from moclip.extraction.extractor import Extractor, Video
from moclip.training.head_files import HeadConfig, HeadFile, load_heads, read_seed_digests
from moclip.training.head_inputs import build_inputs
from moclip.training.head_runs import HeadRun, list_neighbors
from moclip.training.head_stage import train_heads
from tests.unit.cache.test_index import build
from tests.unit.workflow.test_plan import wide_config

NUM_CLASSES, NUM_GROUPS = 3, 8
HEAD = {"epochs": 4, "hidden": 8, "batch_size": 8, "learning_rate": 0.01}
ALL_METHODS = (
    "fusion",
    "appearance",
    "motion_head",
    "shuffled_motion",
    "motion",
    "score_fusion",
    "zero_shot",
    "zero_shot_head",
    "ridge",
    "appearance_ridge",
)


def subset_of(group: int, *, split: int) -> str:
    return ("test", "test", "val", "train", "train", "train", "train", "train")[(group + 2 * split - 2) % NUM_GROUPS]


def manifest_frame() -> pd.DataFrame:
    rows = [
        {
            "video_id": f"c{c}/g{g}_{clip}",
            "path": f"c{c}/g{g}_{clip}.avi",
            "class_name": f"c{c}",
            "class_index": c,
            "group": f"c{c}/g{g}",
            "fingerprint": str(100 * c + 10 * g + clip),
            "shard": 0,
            **{f"split_{split}": subset_of(g, split=split) for split in (1, 2)},
        }
        for c in range(NUM_CLASSES)
        for g in range(NUM_GROUPS)
        for clip in range(2)
    ]
    return pd.DataFrame(rows)


def build_features(
    folder: Path,
    *,
    parameters: dict[str, Any],
    num_frames: int,
    noise: float = 0.4,
    signal: float = 1.0,
    num_views: int = 0,
    longer: Sequence[str] = (),
) -> Path:
    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        for video in videos:
            rng = np.random.default_rng(int(video.fingerprint) + len(parameters))
            centre = np.eye(NUM_CLASSES, 5)[int(video.fingerprint) // 100]
            count = num_frames + longer.count(video.video_id)
            embedding = (signal * centre + noise * rng.normal(size=(count, 5))).astype(np.float32)
            logits = embedding[:, :NUM_CLASSES]
            values = {"embedding": embedding, "logits": logits}
            if num_views:
                # Views that every class shares: a head that trained on them knows nothing of the embeddings.
                values["views"] = 7.0 + rng.normal(size=(num_views, 5)).astype(np.float32)
            yield Row(video_id=video.video_id, row_key=video.fingerprint, values=values)

    extractor = Extractor(
        name="test",
        version=1,
        parameters=parameters,
        fields=tuple(
            Field(name=name, kind="packed") for name in ("embedding", "logits", "views")[: 3 if num_views else 2]
        ),
        row_key=lambda video: video.fingerprint,
        extract=extract,
        reads_videos=False,
        provenance={"state": "trained"},
    )
    frame = manifest_frame()
    videos = [
        Video(video_id=video_id, path=Path(path), fingerprint=fingerprint)
        for video_id, path, fingerprint in zip(frame["video_id"], frame["path"], frame["fingerprint"], strict=True)
    ]
    subsets = {
        f"split_{split}/{subset}": set(frame.loc[frame[f"split_{split}"] == subset, "video_id"])
        for split in (1, 2)
        for subset in ("train", "val", "test")
    }
    return build(folder, extractor, shards=[videos], subsets=subsets)


@dataclass(frozen=True)
class World:
    """A manifest, features, class embeddings and the motion network of each split."""

    folder: Path

    def network(self, split: int) -> Path:
        return self.folder / f"network-{split}.safetensors"

    def motion(self, split: int) -> Path:
        return self.folder / f"motion-{split}/index.json"

    def run(self, *, split: int = 1, seed: int = 0, **changes: Any) -> HeadRun:
        run = HeadRun(
            methods=ALL_METHODS,
            config=HeadConfig.from_config(HEAD),
            shots=0,
            seed=seed,
            motion=self.motion(split),
            appearance=self.folder / "appearance/index.json",
            network=self.network(split),
            text=self.folder / "text.safetensors",
        )
        return replace(run, **changes)

    def train(
        self, name: str, *runs: HeadRun, split: int = 1, cache: str = "cache", neighbors: Sequence[HeadRun] = ()
    ) -> Path:
        """Train the heads of an experiment, and return their file."""
        folder = self.folder / name
        train_heads(
            runs,
            output=folder / "heads.safetensors",
            history=folder / "history.tsv",
            manifest=self.folder / "manifest.tsv",
            split=split,
            cache_dir=self.folder / cache,
            neighbors=lambda: neighbors,
        )
        return folder / "heads.safetensors"

    def test(self, heads: Path, run: HeadRun, *, split: int = 1, **changes: Path) -> dict[str, Any]:
        inputs = {"motion": run.motion, "appearance": run.appearance, "text": run.text, "network": run.network}
        folder = heads.parent / f"seed-{run.seed}"
        write_run(
            folder,
            manifest=self.folder / "manifest.tsv",
            heads=heads,
            inputs={name: path for name, path in {**inputs, **changes}.items() if path is not None},
            methods=run.methods,
            shots=run.shots,
            config={},
            split=split,
            seed=run.seed,
            rejected_test_videos="wrong",
            commit="abc",
            cache_dir=self.folder / "cache",
        )
        return read_metrics(folder / "metrics.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    frame = manifest_frame()
    frame.to_csv(world.folder / "manifest.tsv", sep="\t", index=False)
    for split in (1, 2):
        seen = frame[frame[f"split_{split}"] != "test"]
        about = {
            "split": split,
            "trained_on": sorted(seen["video_id"]),
            "trained_on_groups": sorted(set(seen["group"])),
        }
        write_tensors(world.network(split), {"w": np.full(2, split, np.float32)}, note=about)
        network = read_network_digest(world.network(split))
        build_features(world.motion(split).parent, parameters={"network": network}, num_frames=1)
    build_features(world.folder / "appearance", parameters={"a": 1, "b": 2}, num_frames=3, noise=1.5)
    text = {"state": "trained", "class_names": [f"c{c}" for c in range(NUM_CLASSES)]}
    classes = {"embeddings": np.eye(NUM_CLASSES, 5, dtype=np.float32)}
    write_tensors(world.folder / "text.safetensors", classes, note=text)
    return world


VARIANTS: dict[str, dict[str, Any]] = {
    "mlp": HEAD,
    "linear": {**HEAD, "kind": "linear", "normalise": "l2"},
    "gated": {**HEAD, "kind": "gated", "normalise": "layer"},
    "attention": {**HEAD, "kind": "attention", "refit": True},
    "knn": {"kind": "knn", "neighbours": [1, 3]},
    "gda": {"kind": "gda", "refit": True},
    "temporal": {**HEAD, "kind": "temporal", "width": 32, "form": "transformer"},
}


def heads_of(file: HeadFile) -> dict[str, Any]:
    """Return the weights of every head in a file, ready for a comparison."""
    return {name: {key: value.tobytes() for key, value in head.state.items()} for name, head in file.heads.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_heads_trained_in_one_job_are_bit_for_bit_those_trained_alone(made: World, name: str) -> None:
    runs = [made.run(seed=seed, config=HeadConfig.from_config(VARIANTS[name])) for seed in (0, 1)]
    together = made.train(f"together-{name}", *runs, cache=f"one-{name}")
    digests = read_seed_digests(together)
    for run in reversed(runs):
        alone = made.train(f"alone-{name}-{run.seed}", run, cache=f"alone-{name}-{run.seed}")
        assert read_seed_digests(alone) == {run.seed: digests[run.seed]}
        assert heads_of(load_heads(alone, seed=run.seed)) == heads_of(load_heads(together, seed=run.seed))
    first, second = (heads_of(load_heads(together, seed=seed)) for seed in (0, 1))
    assert first["fusion"] != second["fusion"] or name in ("knn", "gda"), "another seed is another head"


def test_one_seed_more_changes_no_digest_of_the_others(made: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    runs = [made.run(seed=seed, methods=("fusion", "motion_head")) for seed in (0, 1, 2)]
    before = read_seed_digests(made.train("seeds", *runs[:2], cache="seeds"))
    after = read_seed_digests(made.train("seeds", *runs, cache="seeds"))
    assert "2 heads trained, 4 taken from the cache" in caplog.text
    assert {seed: after[seed] for seed in before} == before
    assert len(set(after.values())) == 3


def test_frames_are_pooled_as_the_head_says_and_no_feature_is_extracted_for_it(made: World) -> None:
    runs = {
        name: made.run(config=HeadConfig.from_config({**HEAD, "pooling": name})) for name in ("mean", "first", "concat")
    }
    files = {name: made.train(f"pool-{name}", run, cache="pooling") for name, run in runs.items()}
    heads = {name: load_heads(path, seed=0).heads["appearance"] for name, path in files.items()}
    assert {name: head.layout.appearance for name, head in heads.items()} == {"mean": 5, "first": 5, "concat": 15}
    assert not np.array_equal(heads["mean"].state["hidden.weight"], heads["first"].state["hidden.weight"])
    for name, run in runs.items():
        assert 0 <= made.test(files[name], run)["methods"]["appearance"]["top_1"] <= 1


def test_pooled_inputs_are_the_frames_of_each_video(made: World) -> None:
    stream = load_stream(made.folder / "appearance/index.json")
    ids = ["c1/g2_0", "c0/g0_1"]
    start = [int(stream.table.offsets[stream.rows[video_id]]) for video_id in ids]
    expected = {
        "first": np.stack([stream.table.values[row] for row in start]),
        "concat": np.stack([stream.table.values[row : row + 3].ravel() for row in start]),
    }
    for pooling, rows in expected.items():
        config = HeadConfig.from_config({"pooling": pooling})
        inputs, layout = build_inputs(
            "appearance",
            ids,
            streams={"appearance": stream},
            config=config,
            seed=0,
            subset="train",
            num_frames=stream.most_frames(ids),
        )
        np.testing.assert_array_equal(inputs, rows)
        assert layout.width == rows.shape[1]


def test_a_head_trains_on_views_and_is_tested_on_embeddings(made: World) -> None:
    network = read_network_digest(made.network(1))
    folder = made.folder / "viewed"
    build_features(folder, parameters={"network": network}, num_frames=1, noise=0.1, num_views=4)
    longer = HeadConfig.from_config({**HEAD, "epochs": 30})
    plain = made.run(methods=("motion_head",), motion=folder / "index.json", config=longer)
    viewed = replace(plain, config=replace(longer, views=True))
    # Views of this toy say nothing of the class: the head that saw them alone can but guess.
    assert made.test(made.train("plain", plain, cache="views"), plain)["methods"]["motion_head"]["top_1"] > 0.9
    heads = made.train("viewed", viewed, cache="views")
    assert made.test(heads, viewed)["methods"]["motion_head"]["top_1"] < 0.7
    before = heads.read_bytes()
    assert made.train("viewed", viewed, cache="views-again").read_bytes() == before


def test_views_that_were_never_extracted_are_asked_for_by_name(made: World) -> None:
    run = made.run(methods=("motion_head",), config=HeadConfig.from_config({**HEAD, "views": True}))
    with pytest.raises(ShardError, match=r"set `motion_network.<name>.embedding.views.count`"):
        made.train("no-views", run, cache="no-views")


def test_a_head_that_was_trained_before_is_not_trained_again(made: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    runs = [made.run(methods=("fusion", "appearance")), made.run(seed=1, methods=("fusion",))]
    made.train("cached", *runs, cache="again").unlink()
    assert "3 heads trained, 0 taken from the cache" in caplog.text
    made.train("another", made.run(methods=("appearance", "motion_head")), cache="again")
    assert "1 heads trained, 1 taken from the cache" in caplog.text
    made.train("cached", replace(runs[0], config=replace(runs[0].config, learning_rate=0.02)), runs[1], cache="again")
    assert "2 heads trained, 1 taken from the cache" in caplog.text


def test_a_damaged_head_in_the_cache_is_trained_again(made: World, caplog: pytest.LogCaptureFixture) -> None:
    run = made.run(methods=("fusion",))
    whole = made.train("damaged", run, cache="damaged").read_bytes()
    cached = next((made.folder / "damaged/heads").glob("*.safetensors"))
    cached.write_bytes(cached.read_bytes()[:-20])
    again = made.train("damaged", run, cache="damaged")
    assert "it is trained again" in caplog.text
    assert again.read_bytes() == whole


_TRAIN = """
import logging, pickle, sys
from pathlib import Path
from moclip.training.head_runs import HeadRun, list_neighbors
from moclip.training.head_stage import train_heads
logging.basicConfig(level="INFO")
train_heads(**pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


def test_two_jobs_at_the_same_time_train_each_head_once(made: World) -> None:
    processes = []
    for name in ("left", "right"):
        request = {
            "runs": [made.run(seed=seed, methods=("fusion", "appearance")) for seed in (0, 1)],
            "output": made.folder / name / "heads.safetensors",
            "history": made.folder / name / "history.tsv",
            "manifest": made.folder / "manifest.tsv",
            "split": 1,
            "cache_dir": made.folder / "shared",
        }
        (made.folder / name).mkdir()
        arguments = made.folder / name / "request"
        arguments.write_bytes(pickle.dumps(request))
        command = [sys.executable, "-c", _TRAIN, str(arguments)]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    logs = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    trained = [int(number) for log in logs for number in re.findall(r"(\d+) heads trained", log)]
    assert sum(trained) == 4
    left, right = ((made.folder / name / "heads.safetensors").read_bytes() for name in ("left", "right"))
    assert left == right


def test_a_job_that_trains_trains_the_missing_heads_of_its_neighbors(
    made: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = made.run(methods=("fusion",))
    other = replace(run, methods=("appearance", "motion_head", "score_fusion"), config=replace(run.config, hidden=4))
    broken = replace(run, config=replace(run.config, learning_rate=1e30))
    made.train("first", run, cache="neighbors", neighbors=[broken, other])
    assert "3 heads trained, 0 taken from the cache" in caplog.text
    assert "is left to its own job: head.learning_rate: training diverged" in caplog.text
    # Nothing is missing now, so that neighbors of this job are left alone.
    heads = made.train(
        "second", other, cache="neighbors", neighbors=[replace(run, config=replace(run.config, hidden=5))]
    )
    assert "0 heads trained, 2 taken from the cache" in caplog.text
    alone = made.train("alone", other, cache="no-neighbors")
    assert heads.read_bytes() == alone.read_bytes()


def test_neighbors_are_the_runs_that_read_the_same_variants_on_the_split(made: World) -> None:
    config = wide_config()
    both = {"appearance": "demo-clip", "motion_network": "tiny", "head": "mlp", "splits": [1], "seeds": [0, 1]}
    experiments = {
        "first": {**both, "methods": ["fusion"]},
        "few": {**both, "methods": ["fusion"], "shots": 2, "seeds": [1, 2]},
        "other-split": {**both, "methods": ["fusion"], "splits": [2]},
        "other-frames": {**both, "methods": ["fusion"], "appearance": "moving"},
        "no-heads": {**both, "methods": ["motion"]},
    }
    settings = Settings.model_validate({**config, "experiments": experiments})
    own = HeadConfig.from_config(config["head"]["mlp"])
    runs = [made.run(seed=seed, methods=("fusion",)) for seed in (0, 1)]
    assert list_neighbors(settings, experiment="first", split=1, runs=runs) == [replace(runs[1], shots=2, config=own)]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_method_is_tested_once_and_says_what_validation_chose(made: World, name: str) -> None:
    run = made.run(config=HeadConfig.from_config(VARIANTS[name]))
    heads = made.train(f"all-{name}", run)
    metrics = made.test(heads, run)
    assert set(metrics["methods"]) == set(ALL_METHODS)
    assert all(entry["n"] == 12 for entry in metrics["methods"].values())
    assert 0 <= metrics["chosen"]["score_fusion"]["motion"] <= 1
    assert 0 <= metrics["chosen"]["zero_shot_head"]["alpha"] <= 1
    noted = yaml.safe_load((heads.parent / "seed-0/run.yaml").read_text())
    read = read_index(made.motion(1)).content_of(split=1, subsets=["train", "val", "test"])
    assert noted["features"]["motion"] == {"index": str(made.motion(1)), "fingerprint": read}
    assert noted["models"]["network"] == digest_file(made.network(1))
    assert noted["head"] == read_seed_digests(heads)[0]


@pytest.mark.parametrize("refit", [False, True])
def test_the_ridge_baseline_is_fitted_on_the_inputs_and_the_videos_of_the_other_heads(made: World, refit: bool) -> None:
    config = HeadConfig.from_config({**HEAD, "refit": refit, "normalise": "l2"})
    run = made.run(config=config, methods=("fusion", "ridge", "appearance", "appearance_ridge", "motion", "zero_shot"))
    file = made.train(f"baseline-{refit}", run, cache="baseline")
    found = load_heads(file, seed=0).heads
    for method, baseline in (("fusion", "ridge"), ("appearance", "appearance_ridge")):
        assert found[baseline].layout == found[method].layout
        assert found[baseline].config.normalise == "l2"
        states = (found[baseline].state, found[baseline].selection_state)
        assert np.array_equal(states[0]["classifier.weight"], states[1]["classifier.weight"]) != refit
    fitted = {name: entry["fitted_on"] for name, entry in made.test(file, run)["methods"].items()}
    subsets = "train + val" if refit else "train"
    assert fitted == {
        "zero_shot": "",
        "motion": "train",
        **dict.fromkeys(("appearance", "appearance_ridge", "ridge", "fusion"), subsets),
    }


def test_another_kind_of_head_fits_no_ridge_baseline_again(made: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in ("mlp", "linear"):
        config = HeadConfig.from_config({**HEAD, "kind": name})
        made.train(f"shared-{name}", made.run(methods=("fusion", "ridge"), config=config), cache="shared-ridge")
    assert "1 heads trained, 1 taken from the cache" in caplog.text


@pytest.mark.parametrize("with_control", [False, True])
def test_a_head_that_sees_order_is_marked_unless_the_run_has_its_control(made: World, with_control: bool) -> None:
    methods = ("fusion", "appearance", "ridge", "motion_head", *(["shuffled_frames"] if with_control else []))
    run = made.run(config=HeadConfig.from_config({**HEAD, "kind": "temporal"}), methods=methods)
    file = made.train(f"order-{with_control}", run, cache="order")
    notes = {name: entry["encoder_note"] for name, entry in made.test(file, run)["methods"].items()}
    mark = "" if with_control else "no control with shuffled frames"
    assert notes == {
        "fusion": mark,
        "appearance": mark,
        "ridge": "",
        "motion_head": "",
        **dict.fromkeys(methods[4:], ""),
    }
    if with_control:
        heads = load_heads(file, seed=0).heads
        assert heads["shuffled_frames"].layout == heads["appearance"].layout
        name = "temporal.positions"
        assert not np.array_equal(heads["shuffled_frames"].state[name], heads["appearance"].state[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_another_test_video_trains_the_same_heads(made: World, tmp_path: Path, name: str) -> None:
    heads = []
    for longer in ((), ("c0/g0_0",), ("c0/g3_0",)):
        folder = tmp_path / str(len(heads))
        appearance = build_features(folder, parameters={}, num_frames=2, longer=longer)
        run = made.run(methods=("fusion",), config=HeadConfig.from_config(VARIANTS[name]), appearance=appearance)
        heads.append(made.train(f"longer-{name}", run, cache=str(folder / "cache")).read_bytes())
    assert heads[0] == heads[1] != heads[2]


def test_shuffled_motion_is_the_same_motion_dealt_out_to_other_videos(made: World) -> None:
    streams = {"motion": load_stream(made.motion(1)), "appearance": load_stream(made.folder / "appearance/index.json")}
    ids = sorted(manifest_frame()["video_id"])
    config = HeadConfig.from_config(HEAD)
    request: dict[str, Any] = {"streams": streams, "config": config, "seed": 0, "subset": "train", "num_frames": 3}
    fused, layout = build_inputs("fusion", ids, **request)
    shuffled, same_layout = build_inputs("shuffled_motion", ids, **request)
    assert layout == same_layout
    motion = slice(0, layout.motion)
    np.testing.assert_array_equal(np.delete(shuffled, motion, axis=1), np.delete(fused, motion, axis=1))
    assert sorted(map(tuple, shuffled[:, motion])) == sorted(map(tuple, fused[:, motion])), "no row lost, none new"
    moved = (shuffled[:, motion] != fused[:, motion]).any(axis=1)
    # Of a random order one row in N stays where it is, whatever N.
    assert moved.sum() >= len(ids) - 5


def test_a_head_learns_nothing_from_the_motion_of_other_videos(made: World) -> None:
    # Appearance is noise here and motion clear, so that all that a head can know of the class is in its own motion.
    network = {"network": read_network_digest(made.network(1))}
    clear = build_features(made.folder / "clear", parameters=network, num_frames=1, noise=0.1)
    noise = build_features(
        made.folder / "noise", parameters={"n": 1, "o": 2, "i": 3}, num_frames=1, noise=0.1, signal=0.0
    )
    hits = {"fusion": 0.0, "shuffled_motion": 0.0}
    seeds = range(6)
    for seed in seeds:
        config = HeadConfig.from_config({**HEAD, "epochs": 40})
        run = made.run(seed=seed, methods=tuple(hits), config=config, motion=clear, appearance=noise)
        methods = made.test(made.train("shuffled", run), run)["methods"]
        hits = {name: number + methods[name]["top_1"] * methods[name]["n"] for name, number in hits.items()}
    num_tests = 12 * len(seeds)
    assert hits["fusion"] / num_tests > 0.9
    # A guess among three classes: four standard deviations of the binomial above a third.
    assert hits["shuffled_motion"] / num_tests < 1 / 3 + 4 * np.sqrt(2 / 9 / num_tests)


def test_few_shots_train_and_select_on_so_many_videos_of_each_class(made: World) -> None:
    run = made.run(shots=2, methods=("fusion", "motion"))
    heads = made.train("few", run)
    seen = load_heads(heads, seed=0).seen
    assert len(seen.video_ids) == NUM_CLASSES * (2 + 2)
    note = made.test(heads, run)["methods"]["fusion"]["encoder_note"]
    assert "motion trained on all training videos" in note


def test_heads_of_one_split_are_not_tested_on_another(made: World) -> None:
    run = made.run()
    heads = made.train("classic", run)
    with pytest.raises(ModelError, match="of split 2, found one of split 1"):
        made.test(heads, run, split=2)


def test_the_motion_network_of_one_split_feeds_no_head_of_another(made: World) -> None:
    run = made.run(split=2, network=made.network(1), motion=made.motion(1))
    with pytest.raises(ModelError, match="expected a motion network of split 2, found one of split 1"):
        made.train("crossed", run, split=2)


def test_embeddings_of_other_weights_than_the_networks_are_refused(made: World) -> None:
    with pytest.raises(ModelError, match="other weights"):
        made.train("other", made.run(motion=made.motion(2)))


def test_a_network_that_saw_the_group_of_a_test_video_is_refused(made: World, tmp_path: Path) -> None:
    run = made.run()
    heads = made.train("leaky", run)
    leaky = tmp_path / "network.safetensors"
    about = {"split": 1, "trained_on": ["elsewhere"], "trained_on_groups": ["c1/g0"]}
    write_tensors(leaky, {"w": np.zeros(2, np.float32)}, note=about)
    motion = build_features(tmp_path / "motion", parameters={"network": read_network_digest(leaky)}, num_frames=1)
    with pytest.raises(DatasetError, match=r"2 test videos are of groups.*c1/g0_0 \(group c1/g0\)"):
        made.test(heads, run, network=leaky, motion=motion)


@pytest.mark.parametrize("part", [b"best_epoch", b"video_ids", b"weight_decay", b"shots"])
def test_heads_with_other_metadata_are_not_tested(made: World, part: bytes) -> None:
    run = made.run(methods=("fusion",))
    heads = made.train("edited", run)
    content = bytearray(heads.read_bytes())
    place = next(i for i in range(content.index(part), len(content)) if chr(content[i]) in "012345678")
    content[place] += 1
    heads.write_bytes(content)
    with pytest.raises(ModelError, match=r"the metadata of seed 0 are not those that were written.* run again"):
        made.test(heads, run)


def test_damaged_heads_are_not_tested(made: World) -> None:
    run = made.run(methods=("fusion",))
    heads = made.train("stale", run)
    content = bytearray(heads.read_bytes())
    content[-1] ^= 0xFF
    heads.write_bytes(content)
    with pytest.raises(ModelError, match=r"heads.safetensors: expected a file of trained heads .* run again"):
        made.test(heads, run)


def test_a_seed_that_was_not_trained_is_not_tested(made: World) -> None:
    heads = made.train("one-seed", made.run(methods=("fusion",)))
    with pytest.raises(ModelError, match=r"expected a file of trained heads \('1'\)"):
        made.test(heads, made.run(seed=1, methods=("fusion",)))
