"""The change table: what a user changes, and exactly the jobs, rows, networks and heads that it may cost.

Rows, networks, heads and class embeddings are written here by hand, with the reason where it is not plain. They are
minimal: content that was computed before is never computed again. The jobs follow from the rules of the workflow. They
are recorded in change_table.tsv and compared exactly:

    python -m tests.workflow.changes                     print the table
    python -m tests.workflow.changes --page              write it into docs/caching.md
    python -m tests.workflow.changes --record [NAME...]  run the changes and record their jobs

The numbers follow from the project (`checkout`). A motion network is trained for each split with the seeds 0 and 1, so
2 for each split. The heads of a split: 4 of `fusion`, 2 of `probe`, 1 of `vectors`, and 2 of `frames` in the first or 2
of `still` in the second, so 9 for each split. Of these 5 and 4 read motion, 6 and 8 the embeddings of `clip`.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from moclip.dataset.manifest import read_manifest
from tests.workflow import edits as e
from tests.workflow.checkout import NUM_VIDEOS, Checkout, Work, id_of, new_checkout, pack_weights, path_of
from tests.workflow.conftest import REPOSITORY
from tests.workflow.edits import Edit
from tests.workflow.fresh import look_at_step, show_jobs
from tests.workflow.warm import warm_python

RECORD = Path(__file__).with_name("change_table.tsv")

# Feature sets.
MOTION, CLIP, FRAMES = "motion/original", "appearance/clip", "appearance/frames"
VIDEO_SETS = (MOTION, CLIP, FRAMES)
EMBEDDINGS_1 = tuple(f"motion_embedding/tiny/split-1/seed-{seed}" for seed in (0, 1))
EMBEDDINGS_2 = tuple(f"motion_embedding/tiny/split-2/seed-{seed}" for seed in (0, 1))

# Every video of the manifest after the change.
ALL = ("every video",)
# A number stands for rows of which any of two videos with equal bytes may be the one that is computed.
Rows = Mapping[str, tuple[str, ...] | int]
EMBEDDED_1: Rows = dict.fromkeys(EMBEDDINGS_1, ALL)
EMBEDDED_2: Rows = dict.fromkeys(EMBEDDINGS_2, ALL)
EMBEDDED: Rows = {**EMBEDDED_1, **EMBEDDED_2}


def rows_of(number: int, *sets: str) -> Rows:
    """Return the rows of one video in some feature sets, by default in those that are made from its file."""
    return dict.fromkeys(sets or VIDEO_SETS, (id_of(number),))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One edit and the work of the next run. `fails` if the run must fail, as a fresh build does."""

    edit: Edit
    rows: Rows = field(default_factory=dict)
    networks: int = 0
    heads: int = 0
    texts: int = 0
    cores: int = 2
    fails: bool = False

    def expected_rows(self, checkout: Checkout) -> dict[str, tuple[str, ...] | int]:
        """Return the ids that must be computed in each feature set, or their number."""
        manifest = checkout.results / "manifest.tsv"
        ids = tuple(sorted(read_manifest(manifest)["video_id"])) if ALL in self.rows.values() else ()
        return {name: ids if rows == ALL else rows for name, rows in self.rows.items()}

    def find_surplus(self, work: Work, *, checkout: Checkout) -> list[str]:
        """Return the differences between the expected and the computed rows, networks, heads and texts."""
        expected = self.expected_rows(checkout)
        found = {name: len(ids) if isinstance(expected.get(name), int) else ids for name, ids in work.rows.items()}
        lines = [
            f"rows of {name}: expected {_show_rows(expected.get(name, ()))}, found {_show_rows(found.get(name, ()))}"
            for name in sorted(expected.keys() | found.keys())
            if expected.get(name, ()) != found.get(name, ())
        ]
        for name in ("networks", "heads", "texts"):
            wanted, seen = getattr(self, name), getattr(work, name)
            if wanted != seen:
                lines.append(f"{name}: expected {wanted}, found {seen}")
        return lines


@dataclass(frozen=True, kw_only=True)
class Change:
    """One line of the table, which takes one step or several.

    `sample` marks the lines that run with all tests; CHANGES=all runs every line, CHANGES=1/3 a third of them.
    """

    name: str
    steps: tuple[Step, ...]
    sample: bool = False


# The lines, in groups.
def change(
    name: str,
    edit: Edit,
    *,
    rows: Rows | None = None,
    networks: int = 0,
    heads: int = 0,
    texts: int = 0,
    cores: int = 2,
    sample: bool = False,
) -> Change:
    """Return a change of one step."""
    step = Step(edit=edit, rows=rows or {}, networks=networks, heads=heads, texts=texts, cores=cores)
    return Change(name=name, steps=(step,), sample=sample)


UNCHANGED = (
    change("nothing", e.nothing, sample=True),
    change("number of cores", e.nothing, cores=1),
    change("configuration saved again in another order", e.reverse_config),
    change("a variant that no experiment uses", e.set_key("motion.other", {"source": "transcode"})),
)

RENAMES = (
    change("a motion variant renamed", e.rename_entry("motion", "original", "vectors"), sample=True),
    change("a motion network variant renamed", e.rename_entry("motion_network", "tiny", "small")),
    change("an appearance variant renamed", e.rename_entry("appearance", "clip", "image")),
    change("a text variant renamed", e.rename_entry("text", "words", "sentences")),
    change("a head variant renamed", e.rename_entry("head", "mlp", "dense")),
    change("an experiment renamed", e.rename_entry("experiments", "probe", "linear")),
    change("the first experiment renamed", e.rename_entry("experiments", "fusion", "both")),
    change("dataset.name", e.set_key("dataset.name", "other")),
    change("the folder of the encoder renamed", e.rename_encoder),
    change("the dataset moved to another folder", e.move_dataset),
    change("the project moved to another folder", e.move_project),
    # Prompts follow the phrases of a class, and those of `names` its name.
    change("a class renamed, its index kept", e.rename_class("MovingDown", "MovingDownwards"), texts=1),
    # Every label and the order of the class embeddings change.
    change(
        "a class renamed, the classes reordered",
        e.rename_class("MovingDown", "Falling"),
        rows=EMBEDDED,
        networks=4,
        heads=18,
        texts=2,
    ),
)

SPELLINGS = (
    change("max_px: 20.0 instead of the default 20", e.set_key("motion_network.tiny.max_px", 20.0)),
    change(
        "multipliers.classifier: 1.0 instead of 1",
        e.set_key("motion_network.tiny.train.multipliers", {"classifier": 1.0}),
    ),
    change("a default of the head spelled out", e.set_key("head.mlp.weight_decay", 1.0e-2)),
    change(
        "a default of the frames spelled out",
        e.set_key("appearance.clip.frames", {"policy": "middle", "count": 1}),
    ),
    change("motion_network.loaders", e.set_key("motion_network.tiny.loaders", 2)),
)

# Keys of the configuration, from the end of the graph to its beginning.
KEYS = (
    change("report.pictures", e.set_key("report.pictures", 2)),
    change("report.picture_frames", e.set_key("report.picture_frames", 1)),
    change("report.mistakes", e.set_key("report.mistakes", 2)),
    change("report.mistakes: 0", e.set_key("report.mistakes", 0)),
    change("dataset.rejected_test_videos", e.set_key("dataset.rejected_test_videos", "leave_out")),
    # 8 of `fusion`, 2 of `frames`, 2 of `vectors`.
    change("head.learning_rate", e.set_key("head.mlp.learning_rate", 0.01), heads=12),
    # 4 of `probe`, 2 of `still`.
    Change(
        name="head.epochs 1, 2 and 1 again",
        steps=(
            Step(edit=e.set_key("head.linear.epochs", 2), heads=6),
            Step(edit=e.set_key("head.linear.epochs", 1)),
        ),
    ),
    # Features of motion change, and the 9 heads that read them.
    change(
        "motion_network.embedding.num_segments",
        e.set_key("motion_network.tiny.embedding.num_segments", 1),
        rows=EMBEDDED,
        heads=9,
    ),
    Change(
        name="motion_network.train.epochs 2, 3 and 2 again",
        steps=(
            Step(edit=e.set_key("motion_network.tiny.train.epochs", 3), rows=EMBEDDED, networks=4, heads=9),
            Step(edit=e.set_key("motion_network.tiny.train.epochs", 2)),
        ),
        sample=True,
    ),
    change(
        "motion_network.field.window",
        e.set_key("motion_network.tiny.field.window", 3),
        rows=EMBEDDED,
        networks=4,
        heads=9,
    ),
    change(
        "appearance.frames.count",
        e.set_key("appearance.frames.frames", {"policy": "uniform", "count": 3}),
        rows={FRAMES: ALL},
        heads=2,
    ),
    # The 14 heads that read `clip`; 2 of `fusion` are those of `frames` then.
    change(
        "the frames of one variant given to the other",
        e.set_key("appearance.clip.frames", {"policy": "uniform", "count": 2}),
        heads=12,
    ),
    # The batch size is part of the key of a row, and no value changes.
    change("appearance.batch_size", e.set_key("appearance.clip.batch_size", 8), rows={CLIP: ALL}),
    change(
        "motion.source",
        e.set_key("motion.original.source", "transcode"),
        rows={MOTION: ALL, **EMBEDDED},
        networks=4,
        heads=9,
    ),
    # The project has videos that cannot be decoded: the run ends with their names, as it should.
    Change(
        name="dataset.on_bad_video: fail, then skip again",
        steps=(
            Step(edit=e.set_key("dataset.on_bad_video", "fail"), fails=True),
            Step(edit=e.set_key("dataset.on_bad_video", "skip")),
        ),
    ),
    change("dataset.limits", e.set_key("dataset.limits", {"seconds": 900})),
    Change(
        name="dataset.num_shards 3, 5 and 3 again",
        steps=(
            Step(edit=e.set_key("dataset.num_shards", 5)),
            Step(edit=e.set_key("dataset.num_shards", 3)),
        ),
        sample=True,
    ),
    # The drawn validation videos of the second split; the first split lists its own.
    change(
        "dataset.validation_seed",
        e.set_key("dataset.validation_seed", 1),
        rows=EMBEDDED_2,
        networks=2,
        heads=9,
    ),
    change(
        "dataset.classes",
        e.set_key("dataset.classes", ["MovingRight", "MovingDown"]),
        rows=EMBEDDED,
        networks=4,
        heads=18,
        texts=2,
    ),
    change("cache_dir", e.set_key("cache_dir", "cache")),
)

EXPERIMENTS = (
    change("an experiment removed", e.remove_experiment("frames")),
    change("the first experiment removed", e.remove_experiment("fusion")),
    change("experiments in another order", e.order_experiments("vectors", "still")),
    change(
        "an experiment added whose heads another one has",
        e.add_entry("experiments", "image", appearance="clip", head="mlp", methods=["appearance"], seeds=[0]),
    ),
    change(
        "an experiment with few shots added",
        e.add_entry("experiments", "few", appearance="clip", head="mlp", methods=["appearance"], seeds=[0], shots=1),
        heads=1,
    ),
    # The networks of `fusion` have this seed. 2 heads on 2 splits; `still` trained one of these four.
    change("a seed that another experiment has", e.set_key("experiments.probe.seeds", [0, 1]), heads=3),
    change(
        "a seed that no experiment has",
        e.set_key("experiments.fusion.seeds", [0, 1, 2]),
        rows={f"motion_embedding/tiny/split-{split}/seed-2": ALL for split in (1, 2)},
        networks=2,
        heads=4,
    ),
    change("a seed removed", e.set_key("experiments.fusion.seeds", [0])),
    change("a split added", e.set_key("experiments.frames.splits", [1, 2]), heads=2),
    change("a split removed", e.set_key("experiments.vectors.splits", [1])),
    change("a method removed", e.set_key("experiments.frames.methods", ["fusion"])),
    change(
        "a method added",
        e.set_key("experiments.probe.methods", ["fusion", "appearance", "score_fusion", "motion_head"]),
        heads=2,
    ),
    change("another head in an experiment", e.set_key("experiments.frames.head", "linear"), heads=2),
    change("another appearance in an experiment", e.set_key("experiments.probe.appearance", "frames"), heads=4),
    change("another text in an experiment", e.set_key("experiments.fusion.text", "words")),
    change(
        "a second motion and network variant with equal parameters",
        e.together(
            e.add_entry("motion", "copy", like="original"),
            e.add_entry("motion_network", "twin", like="tiny", motion="copy"),
            e.add_entry("experiments", "again", like="vectors", motion_network="twin"),
        ),
    ),
    change(
        "a second appearance and head variant with equal parameters",
        e.together(
            e.add_entry("appearance", "copy", like="clip"),
            e.add_entry("head", "twin", like="mlp"),
            e.add_entry("experiments", "again", like="frames", appearance="copy", head="twin", methods=["appearance"]),
        ),
    ),
)

# Video 0 trains in the first split and tests in the second; video 18 tests in the first and validates in the second.
VIDEOS = (
    change(
        "a video added to train",
        e.add_video(24, split_1="train", split_2="train"),
        rows={**rows_of(24), **EMBEDDED},
        networks=4,
        heads=18,
    ),
    change(
        "a video added to train of one split",
        e.add_video(24, split_1="train", split_2=""),
        rows={**rows_of(24), **EMBEDDED_1, **rows_of(24, *EMBEDDINGS_2)},
        networks=2,
        heads=9,
    ),
    change(
        "a video added to test",
        e.add_video(24, split_1="test", split_2="test"),
        rows=rows_of(24, *VIDEO_SETS, *EMBEDDINGS_1, *EMBEDDINGS_2),
    ),
    change("a video added that no split uses", e.add_video(24, split_1="", split_2="")),
    change(
        "a video's bytes changed",
        e.rewrite_video(0, content=26),
        rows={**rows_of(0), **EMBEDDED_1, **rows_of(0, *EMBEDDINGS_2)},
        networks=2,
        heads=9,
    ),
    change("two videos' contents swapped", e.swap_contents(0, 18), rows=EMBEDDED, networks=4, heads=18, sample=True),
    change("a copy of a video added to test", e.add_video(24, split_1="test", split_2="test", like=0)),
    # Equal bytes are computed once, in one job and across jobs: 33 and 39 share a shard, 24 and 30 do not.
    change(
        "the same new bytes under two ids of two shards",
        e.together(
            e.add_video(24, split_1="test", split_2="test"),
            e.add_video(30, split_1="test", split_2="test", like=24),
        ),
        rows=dict.fromkeys((*VIDEO_SETS, *EMBEDDINGS_1, *EMBEDDINGS_2), 1),
    ),
    change(
        "the same new bytes under two ids of one shard",
        e.together(
            e.add_video(33, split_1="test", split_2="test", like=33),
            e.add_video(39, split_1="test", split_2="test", like=33),
        ),
        rows=dict.fromkeys((*VIDEO_SETS, *EMBEDDINGS_1, *EMBEDDINGS_2), 1),
    ),
    change("a video removed", e.remove_video(0), rows=EMBEDDED_1, networks=2, heads=9),
    # The order and the crops of a training video are drawn by its id.
    change(
        "a video renamed",
        e.move_video(0, path="MovingRight/w0.mp4", class_name="MovingRight"),
        rows=EMBEDDED_1,
        networks=2,
        heads=9,
    ),
    change(
        "a video moved to another class",
        e.move_video(0, path="MovingDown/v0.mp4", class_name="MovingDown"),
        rows=EMBEDDED_1,
        networks=2,
        heads=9,
    ),
    change(
        "a training label corrected",
        lambda checkout: checkout.edit_lists(path_of(0), class_="MovingDown"),
        rows=EMBEDDED_1,
        networks=2,
        heads=9,
    ),
    # A group decides who is drawn for validation, and the first split draws nobody.
    change("a group corrected", lambda checkout: checkout.edit_lists(path_of(0), group="g99")),
    change(
        "two groups exchange train and val of one split",
        e.exchange_groups("g00", "g02", split="split_1"),
        rows=EMBEDDED_1,
        networks=2,
        heads=9,
    ),
    change(
        "two groups exchange train and test of one split",
        e.exchange_groups("g00", "g03", split="split_1"),
        rows=EMBEDDED_1,
        networks=2,
        heads=9,
    ),
    change(
        "an unreadable video repaired",
        e.rewrite_video(4, content=28),
        rows={**rows_of(4), **EMBEDDED_1, **rows_of(4, *EMBEDDINGS_2)},
        networks=2,
        heads=9,
    ),
    change(
        "a video without motion vectors repaired",
        e.rewrite_video(23, content=29),
        rows={**rows_of(23), **EMBEDDED_2, **rows_of(23, *EMBEDDINGS_1)},
        networks=2,
        heads=9,
    ),
    # Its motion is then that of video 4, which has none for the same reason.
    # It has the reject of the other unreadable video: both are embedded as one row.
    change(
        "a good video broken",
        e.ruin_video(0),
        rows={**rows_of(0), **dict.fromkeys(EMBEDDINGS_1, NUM_VIDEOS - 1)},
        networks=2,
        heads=9,
    ),
    change(
        "a good video broken, its size and mtime kept",
        e.ruin_video_unseen(18),
        rows={**rows_of(18), **dict.fromkeys(EMBEDDINGS_2, NUM_VIDEOS - 1)},
        networks=2,
        heads=9,
    ),
    change("a video touched", e.touch(f"videos/{path_of(0)}")),
    change("a video with an mtime in the future", e.touch(f"videos/{path_of(0)}", seconds=e.DAY)),
    change("a file that is no video added", e.add_note),
    change(
        "a video that no list names added",
        lambda checkout: e.write_clip(checkout.videos / path_of(24), number=24),
    ),
    change("a list in another order", e.reverse_lists),
)

_SHORT = e.prompts_of("a film of {}.")
FILES = (
    # The head of `still` begins as its prompts.
    change("a prompt edited", e.write_file(e.TEMPLATES, _SHORT), texts=1, heads=1),
    change("a prompt edited that trains no head", e.write_file("prompts/short.yaml", _SHORT), texts=1),
    change(
        "a phrase edited",
        e.edit_file("prompts/phrases.yaml", lambda text: text.replace(b"MovingAslant\n", b"aslant\n", 1)),
        texts=1,
        heads=1,
    ),
    change("a comment in a prompt file", e.edit_file(e.TEMPLATES, lambda text: b"# A comment.\n" + text)),
    change("CRLF in a prompt file", e.edit_file(e.TEMPLATES, lambda text: text.replace(b"\n", b"\r\n"))),
    change(
        "prompts replaced, mtime and size kept",
        e.edit_file_unseen(e.TEMPLATES, lambda text: text.replace(b"photo", b"sketc")),
        texts=1,
        heads=1,
    ),
    change(
        "weights replaced",
        e.write_file(e.WEIGHTS, pack_weights(b"other weights")),
        rows={CLIP: ALL, FRAMES: ALL},
        heads=16,
        texts=2,
    ),
    change(
        "weights replaced, mtime and size kept",
        e.edit_file_unseen(e.WEIGHTS, lambda text: text.replace(b"first", b"other")),
        rows={CLIP: ALL, FRAMES: ALL},
        heads=16,
        texts=2,
        sample=True,
    ),
    change(
        "weights replaced, with an mtime in the future",
        e.together(e.write_file(e.WEIGHTS, pack_weights(b"other weights")), e.touch(e.WEIGHTS, seconds=e.DAY)),
        rows={CLIP: ALL, FRAMES: ALL},
        heads=16,
        texts=2,
    ),
    change("weights with an mtime in the future", e.touch(e.WEIGHTS, seconds=e.DAY)),
    change("weights touched", e.touch(e.WEIGHTS)),
    change("weights copied over themselves", e.copy_over(e.WEIGHTS)),
    change("a note in the folder of the encoder", e.write_file("weights/README.md", b"Where the weights are from.\n")),
    change("a note named like weights", e.write_file("weights/open_clip_notes.txt", b"Where they are from.\n")),
    change(
        "the encoder's configuration edited",
        e.edit_file(e.ENCODER, lambda text: text.replace(b'"vision_cfg": {}', b'"vision_cfg": {"layers": 2}')),
        rows={CLIP: ALL, FRAMES: ALL},
        heads=16,
        texts=2,
    ),
    change("the encoder's configuration reformatted", e.edit_file(e.ENCODER, lambda text: text.replace(b" ", b"\n "))),
)

CODE = (
    change("every file of the code touched", e.touch_code),
    change(
        "a rule file with other blank lines",
        e.edit_code("workflow/rules/evaluation.smk", r"^rule evaluate:", "# A comment.\n\n\nrule evaluate:"),
    ),
    change(
        "a comment in a script and a docstring in the library",
        e.together(
            e.edit_code("workflow/scripts/head.py", r"^with stage", "# A comment.\nwith stage"),
            e.edit_code("src/moclip/cache/row_cache.py", r'^"""', '"""Another docstring. '),
        ),
    ),
    change("a script edited", e.edit_code("workflow/scripts/head.py", r"^with stage", "print('training')\nwith stage")),
    change(
        "an extractor edited without a new version",
        e.edit_code("src/moclip/extraction/motion.py", r" in videos:$", " in list(videos):"),
    ),
    change(
        "an extractor's version raised",
        e.edit_code("src/moclip/versions.py", r"^MOTION_VERSION = \d+", "MOTION_VERSION = 99"),
        rows={MOTION: ALL},
    ),
    change(
        "a function that only the evaluation reaches edited",
        e.edit_code("src/moclip/evaluation/run_stage.py", r"^_LIBRARIES = \(", '_LIBRARIES = ("pyyaml", '),
    ),
)

_HEADS = "experiments/fusion/split-1"
_RUN = f"{_HEADS}/seed-0"
_NETWORK = "motion_network/tiny/split-1/seed-0"
_TOY = "results/toy"


def _copy_network(checkout: Checkout) -> None:
    other = checkout.results / "motion_network/tiny/split-2/seed-0/model.safetensors"
    e.replace_result(f"{_NETWORK}/model.safetensors", other.read_bytes())(checkout)


RESULTS = (
    change("the folder of the results deleted", e.delete(_TOY), sample=True),
    change("the results and .snakemake deleted", e.delete(_TOY, ".snakemake")),
    change("the cache deleted", e.delete("results/.cache")),
    change("logs and benchmarks deleted", e.delete("benchmarks")),
    change("a motion network deleted", e.delete(f"{_TOY}/{_NETWORK}/model.safetensors")),
    change("a shard deleted", e.delete(f"{_TOY}/motion/original/shard-0.h5")),
    change("a shard of embeddings deleted", e.delete(f"{_TOY}/{EMBEDDINGS_1[0]}/shard-0.h5")),
    change("an index deleted", e.delete(f"{_TOY}/appearance/clip/index.json")),
    change("the manifest deleted", e.delete(f"{_TOY}/manifest.tsv")),
    change("class embeddings deleted", e.delete(f"{_TOY}/text/words/class_embeddings.safetensors")),
    change("a head deleted", e.delete(f"{_TOY}/{_HEADS}/heads.safetensors")),
    change("predictions deleted", e.delete(f"{_TOY}/{_RUN}/predictions.tsv")),
    change("a table of results deleted", e.delete(f"{_TOY}/summary.tsv")),
    change("the report deleted", e.delete(f"{_TOY}/report.html")),
    # Files that were edited by hand are made again.
    change("predictions edited", e.append_to_result(f"{_RUN}/predictions.tsv")),
    change("metrics edited", e.edit_result(f"{_RUN}/metrics.json", "0.", "1.")),
    change("the record of a run edited", e.append_to_result(f"{_RUN}/run.yaml", "note: edited\n")),
    change("a learning curve edited", e.append_to_result(f"{_NETWORK}/history.tsv")),
    change("an index edited", e.append_to_result("motion/original/index.json")),
    change("heads edited", e.append_to_result(f"{_HEADS}/heads.safetensors")),
    change("a learning curve of heads edited", e.append_to_result(f"{_HEADS}/history.tsv")),
    change("the label of a video edited in the manifest", e.relabel_manifest),
    change("the summary edited", e.append_to_result("summary.tsv")),
    change("a motion network replaced by another one", _copy_network),
    change("a shard replaced by junk", e.replace_result("motion/original/shard-0.h5", b"junk")),
    change("an index replaced by junk", e.replace_result("appearance/clip/index.json", b"junk")),
    # The shard and the cache are one file: the row is lost.
    change(
        "a row damaged in the shard and the cache",
        e.damage_row("appearance/clip/shard-0.h5"),
        rows={CLIP: ("MovingAslant/v5",)},
    ),
    change(
        "a row damaged, found and removed by moclip verify --fix",
        e.together(e.damage_row("appearance/clip/shard-0.h5"), e.fix),
        rows={CLIP: ("MovingAslant/v5",)},
    ),
)

LOST_METADATA = (
    change(".snakemake deleted", e.delete(".snakemake")),
    change(
        ".snakemake deleted and head.learning_rate changed",
        e.together(e.delete(".snakemake"), e.set_key("head.mlp.learning_rate", 0.01)),
        heads=12,
        sample=True,
    ),
    change(
        ".snakemake deleted and a video's bytes changed",
        e.together(e.delete(".snakemake"), e.rewrite_video(0, content=26)),
        rows={**rows_of(0), **EMBEDDED_1, **rows_of(0, *EMBEDDINGS_2)},
        networks=2,
        heads=9,
    ),
    change(
        ".snakemake deleted and predictions edited",
        e.together(e.delete(".snakemake"), e.append_to_result(f"{_RUN}/predictions.tsv")),
    ),
    change(
        ".snakemake deleted and a training label corrected",
        e.together(e.delete(".snakemake"), lambda checkout: checkout.edit_lists(path_of(0), class_="MovingDown")),
        rows=EMBEDDED_1,
        networks=2,
        heads=9,
    ),
)


CHANGES: tuple[Change, ...] = (
    *UNCHANGED,
    *RENAMES,
    *SPELLINGS,
    *KEYS,
    *EXPERIMENTS,
    *VIDEOS,
    *FILES,
    *CODE,
    *RESULTS,
    *LOST_METADATA,
)
SAMPLE: tuple[Change, ...] = tuple(change for change in CHANGES if change.sample)

Jobs = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The recorded jobs of one step, and the number of scores that it computed."""

    jobs: Jobs
    scores: int


@cache
def read_record() -> dict[tuple[str, int], Recorded]:
    """Return the recorded steps by the name of the change and the number of the step, from 1."""
    if not RECORD.is_file():
        return {}
    with RECORD.open(newline="") as file:
        return {
            (line["change"], int(line["step"])): Recorded(jobs=parse_jobs(line["jobs"]), scores=int(line["scores"]))
            for line in csv.DictReader(file, dialect="excel-tab")
        }


def write_record(record: Mapping[tuple[str, int], Recorded]) -> None:
    """Write the recorded steps in the order of the table."""
    order = {change.name: number for number, change in enumerate(CHANGES)}
    with RECORD.open("w", newline="") as file:
        writer = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        writer.writerow(["change", "step", "jobs", "scores"])
        for (name, step), entry in sorted(record.items(), key=lambda item: (order.get(item[0][0], -1), item[0][1])):
            if name in order:
                writer.writerow([name, step, show_jobs(dict(entry.jobs)), entry.scores])


def parse_jobs(text: str) -> dict[str, int]:
    """Return the jobs that `show_jobs` wrote."""
    words = [entry.split() for entry in text.split(", ")] if text != "none" else []
    return {entry[0]: int(entry[1]) if len(entry) > 1 else 1 for entry in words}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A step that was tried: its number, the work, and the problems in a line each."""

    number: int
    work: Work
    problems: list[str]


def try_change(change: Change, *, checkout: Checkout) -> Iterator[Tried]:
    """Yield each step of a change after it has run, until one has problems."""
    for number, step in enumerate(change.steps, start=1):
        step.edit(checkout)
        planned = checkout.plan()
        seen = look_at_step(checkout, cores=step.cores)
        problems = seen.problems if seen.work.ran.code else [*seen.problems, *planned.compare(seen.work)]
        if step.fails != bool(seen.work.ran.code):
            problems.append(f"expected a run that {'fails' if step.fails else 'ends'}, found exit {seen.work.ran.code}")
        elif not step.fails and not seen.failure:
            problems += step.find_surplus(seen.work, checkout=checkout)
        yield Tried(number=number, work=seen.work, problems=problems)
        if problems:
            return


def check_change(change: Change, *, checkout: Checkout) -> None:
    """Make a change in a project whose workflow has run, and check every step.

    Raises:
        AssertionError: A result differs from a fresh build, a second run has work, or a run did more or less than
            expected, each in one line.
    """
    for tried in try_change(change, checkout=checkout):
        expected = read_record().get((change.name, tried.number))
        problems = list(tried.problems)
        jobs, scores = dict(tried.work.jobs), tried.work.scores
        if not change.steps[tried.number - 1].fails:
            if expected is None:
                problems.append("no record of its jobs; run python -m tests.workflow.changes --record and look at it")
            elif (jobs, scores) != (dict(expected.jobs), expected.scores):
                problems.append(compare_jobs(expected, jobs=jobs, scores=scores))
        step = f" (step {tried.number})" if len(change.steps) > 1 else ""
        assert not problems, "\n  ".join([f"{change.name}{step}:", *problems, f"jobs of the run: {show_jobs(jobs)}"])


def compare_jobs(expected: Recorded, *, jobs: Jobs, scores: int) -> str:
    """Return the jobs that were too many and too few in a line."""
    more, less = Counter(jobs) - Counter(expected.jobs), Counter(expected.jobs) - Counter(jobs)
    return (
        f"jobs: too many: {show_jobs(more)}; too few: {show_jobs(less)}; "
        f"scores: expected {expected.scores}, found {scores}"
    )


def format_table() -> str:
    """Return the table as docs/caching.md shows it."""
    lines = ["| change | jobs that run | rows that are computed | networks | heads |", "|---|---|---|---|---|"]
    for change in CHANGES:
        for number, step in enumerate(change.steps, start=1):
            recorded = read_record().get((change.name, number))
            jobs = "the run fails" if step.fails else show_jobs(dict(recorded.jobs)) if recorded else "not recorded"
            name = change.name if len(change.steps) == 1 else f"{change.name}, step {number}"
            lines.append(f"| {name} | {jobs} | {_describe(step.rows)} | {step.networks} | {step.heads} |")
    return "\n".join(lines)


def write_page() -> None:
    """Replace the table of docs/caching.md."""
    path = REPOSITORY / "docs/caching.md"
    page = path.read_text()
    begin = page.index("| change | jobs")
    path.write_text(page[:begin] + format_table() + page[page.index("\n\n", begin) :])


def _describe(rows: Rows) -> str:
    # Feature sets of one stage that compute the same rows share an entry.
    found: dict[str, list[str]] = {}
    for name, ids in rows.items():
        found.setdefault(f"{name.split('/')[0]}: {_show_rows(ids)}", []).append(name)
    return (
        ", ".join(text if len(sets) == 1 else f"{text} in {len(sets)} sets" for text, sets in found.items()) or "none"
    )


def _show_rows(rows: tuple[str, ...] | int) -> str:
    if isinstance(rows, int):
        return f"{rows} of two" if rows else "none"
    if rows == ALL:
        return "all"
    return (" ".join(rows) or "none") if len(rows) <= 3 else f"{len(rows)} videos"


def record(changes: list[Change], *, python: Path) -> int:
    """Try changes, record the jobs of those that are right, and return how many are wrong."""
    num_wrong = 0
    with tempfile.TemporaryDirectory(prefix="moclip-changes-") as name:
        folder = Path(name)
        built = new_checkout(folder / "built", python=python)
        built.run()
        for number, change in enumerate(changes):
            since = time.monotonic()
            (folder / f"{number}").mkdir()
            checkout = built.copy(folder / f"{number}" / "checkout")
            tried = []
            try:
                tried = list(try_change(change, checkout=checkout))
                problems = [line for step in tried for line in step.problems]
            except AssertionError as error:
                problems = [str(error)]
            if not problems:
                write_record(
                    read_record()
                    | {
                        (change.name, step.number): Recorded(jobs=step.work.jobs, scores=step.work.scores)
                        for step in tried
                    }
                )
                read_record.cache_clear()
            num_wrong += bool(problems)
            jobs = "; ".join(show_jobs(step.work.jobs) for step in tried)
            lines = [f"{change.name}: {'WRONG' if problems else 'right'}, {time.monotonic() - since:.0f} s: {jobs}"]
            sys.stdout.write("\n  ".join([*lines, *problems]) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(changes)} changes, {num_wrong} wrong\n")
    return num_wrong


def main() -> None:
    """Print the table, or run the changes and record their jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--record", action="store_true", help="run the changes; record the jobs of those that are right"
    )
    parser.add_argument("--page", action="store_true", help="write the table into docs/caching.md")
    parser.add_argument("--part", default="1/1", help="which part of the changes, such as 2/3")
    parser.add_argument("names", nargs="*", help="parts of the names of changes; all without any")
    options = parser.parse_args()
    if options.page:
        write_page()
        return
    if not options.record:
        sys.stdout.write(format_table() + "\n")
        return
    os.environ.setdefault("PYTHONHASHSEED", "0")
    chosen = [change for change in CHANGES if not options.names or any(name in change.name for name in options.names)]
    part, parts = map(int, options.part.split("/"))
    with tempfile.TemporaryDirectory() as folder, warm_python(Path(folder), hash_seed=1) as python:
        sys.exit(bool(record(chosen[part - 1 :: parts], python=python)))


if __name__ == "__main__":
    main()
