"""The change table: what a user changes, and exactly which jobs and which rows that may cost."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.workflow.checkout import Checkout, write_clip

Jobs = Mapping[str, int]

NOTHING: Jobs = {}
EVALUATION: Jobs = {"evaluate": 1, "comparisons": 1, "summary": 1, "mistakes": 1, "report": 1}
HEAD: Jobs = {"head": 1, "costs": 1, **EVALUATION}
EMBEDDING: Jobs = {"motion_embedding_shard": 2, "motion_embedding_index": 1, **HEAD}
NETWORK: Jobs = {"motion_network": 1, "motion_network_curve": 1, **EMBEDDING}
# One shard of each kind of feature of the videos themselves, and the indexes over them.
ONE_SHARD: Jobs = {"motion_shard": 1, "motion_index": 1, "appearance_shard": 1, "appearance_index": 1}
ALL_SHARDS: Jobs = {**ONE_SHARD, "motion_shard": 2, "appearance_shard": 2}
# What shows the videos: a page of their facts, those left out, and pictures.
PAGES: Jobs = {"datacard": 1, "rejects": 1, "motion_pictures": 1}

# Stands for every video of the manifest after the change.
ALL = ("every video",)
Rows = Mapping[str, tuple[str, ...]]
EMBEDDED: Rows = {"motion_embedding": ALL}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change, the jobs of each rule and the rows of each stage that the next run must cost, and what it shows."""

    name: str
    apply: Callable[[Checkout], None]
    jobs: Jobs
    rows: Rows = field(default_factory=dict)
    cores: int = 2


def _set(path: str, value: object) -> Callable[[Checkout], None]:
    def apply(checkout: Checkout) -> None:
        *above, last = path.split(".")
        section = checkout.config
        for key in above:
            section = section.setdefault(key, {})
        section[last] = value

    return apply


def _edit(path: str, pattern: str, replacement: str) -> Callable[[Checkout], None]:
    def apply(checkout: Checkout) -> None:
        file = checkout.code / path
        text, count = re.subn(pattern, replacement, file.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, f"{path}: nothing there to edit"
        file.write_text(text)

    return apply


def _add_video(checkout: Checkout, *, subset: str) -> None:
    write_clip(checkout.videos / "MovingRight/v16.mp4", number=16)
    checkout.write_lists(checkout.read_lists() | {"MovingRight/v16.mp4": subset})


def _remove_video(checkout: Checkout) -> None:
    (checkout.videos / "MovingRight/v0.mp4").unlink()
    subsets = checkout.read_lists()
    del subsets["MovingRight/v0.mp4"]
    checkout.write_lists(subsets)


def _rename_video(checkout: Checkout) -> None:
    (checkout.videos / "MovingRight/v0.mp4").rename(checkout.videos / "MovingRight/w0.mp4")
    subsets = checkout.read_lists()
    checkout.write_lists({name.replace("/v0.", "/w0."): subset for name, subset in subsets.items()})


def _move_dataset(checkout: Checkout) -> None:
    checkout.videos.rename(checkout.project / "elsewhere")
    checkout.config["dataset"]["root"] = "elsewhere"


def _swap_subsets(checkout: Checkout) -> None:
    subsets = checkout.read_lists()
    one, other = "MovingRight/v0.mp4", "MovingRight/v4.mp4"
    assert subsets[one] != subsets[other]
    checkout.write_lists(subsets | {one: subsets[other], other: subsets[one]})


def _reverse_lists(checkout: Checkout) -> None:
    lines = (checkout.project / "videos.csv").read_text().splitlines()
    (checkout.project / "videos.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")


def _reorder_config(checkout: Checkout) -> None:
    text = yaml.safe_dump(checkout.config)
    checkout.config = dict(reversed(yaml.safe_load(text).items()))


def _add_note(checkout: Checkout) -> None:
    (checkout.videos / "MovingRight/notes.txt").write_text("Not a video.")


def _add_unlisted_video(checkout: Checkout) -> None:
    write_clip(checkout.videos / "MovingRight/v18.mp4", number=18)


def _edit_comments(checkout: Checkout) -> None:
    _edit("workflow/scripts/head.py", r"^with stage", "# A comment.\nwith stage")(checkout)
    _edit("src/moclip/row_cache.py", r'^"""The row', '"""A row')(checkout)


def _delete(path: str) -> Callable[[Checkout], None]:
    return lambda checkout: (checkout.results / path).unlink()


def _corrupt_and_fix(checkout: Checkout) -> None:
    # The embedding of one video, found by its bytes, which lie uncompressed in the file.
    shard = checkout.results / "appearance/clip/shard-0.h5"
    content = bytearray(shard.read_bytes())
    place = _first_embedding(shard)
    content[place] ^= 0xFF
    with shard.open("r+b") as file:
        file.write(content)
    fixed = checkout.moclip("verify", "--fix", "--configfile", "config.yaml", "--schema", str(_schema(checkout)))
    assert fixed.code == 0, fixed.output
    assert "1 damaged" in fixed.output, fixed.output


def _first_embedding(shard: Path) -> int:
    from moclip.shards import Shard  # noqa: PLC0415 (its path to the data is asked here alone)

    with Shard(shard) as opened:
        first = opened.read_row_at(0)
    return shard.read_bytes().index(first.values["embedding"].tobytes())  # type: ignore[union-attr]


def _schema(checkout: Checkout) -> Path:
    return checkout.code / "workflow/schemas/config.schema.yaml"


def _move_checkout(checkout: Checkout) -> None:
    for path in checkout.code.rglob("*.py"):
        os.utime(path)


def _replace_weights(checkout: Checkout) -> None:
    (checkout.project / "weights/open_clip_model.safetensors").write_bytes(b"other weights")


def _edit_prompts(checkout: Checkout) -> None:
    (checkout.project / "prompts/templates.yaml").write_text("templates: ['a video of {}.']\n")


CHANGES: tuple[Change, ...] = (
    Change(name="nothing", apply=lambda checkout: None, jobs=NOTHING),
    Change(name="number of cores", apply=lambda checkout: None, jobs=NOTHING, cores=1),
    Change(name="configuration saved again in another order", apply=_reorder_config, jobs=NOTHING),
    Change(
        name="a variant that no experiment uses",
        apply=_set("motion.other", {"source": "transcode"}),
        jobs={"report": 1},
    ),
    # Keys of the configuration, from the end of the graph to its beginning.
    Change(name="report.pictures", apply=_set("report.pictures", 2), jobs={"motion_pictures": 1, "report": 1}),
    Change(
        name="dataset.rejected_test_videos",
        apply=_set("dataset.rejected_test_videos", "leave_out"),
        jobs=EVALUATION,
    ),
    Change(name="head.learning_rate", apply=_set("head.mlp.learning_rate", 0.01), jobs=HEAD),
    Change(
        name="another seed",
        apply=_set("experiments.fusion.seeds", [0, 1]),
        jobs=NETWORK,
        rows=EMBEDDED,
    ),
    Change(
        name="motion_network.test.num_segments",
        apply=_set("motion_network.tiny.test.num_segments", 1),
        jobs=EMBEDDING,
        rows=EMBEDDED,
    ),
    Change(
        name="motion_network.train.epochs",
        apply=_set("motion_network.tiny.train.epochs", 3),
        jobs=NETWORK,
        rows=EMBEDDED,
    ),
    Change(
        name="motion_network.field.window",
        apply=_set("motion_network.tiny.field.window", 3),
        jobs={**NETWORK, "motion_pictures": 1},
        rows=EMBEDDED,
    ),
    Change(
        name="appearance.frames",
        apply=_set("appearance.clip.frames", {"policy": "uniform", "count": 2}),
        jobs={"appearance_shard": 2, "appearance_index": 1, "rejects": 1, **HEAD},
        rows={"appearance": ALL},
    ),
    Change(
        name="motion.source",
        apply=_set("motion.original.source", "transcode"),
        jobs={"motion_shard": 2, "motion_index": 1, **PAGES, **NETWORK},
        rows={"motion": ALL, **EMBEDDED},
    ),
    Change(
        name="dataset.on_bad_video",
        apply=_set("dataset.on_bad_video", "fail"),
        jobs={**ALL_SHARDS, "report": 1},
    ),
    Change(
        name="dataset.limits",
        apply=_set("dataset.limits", {"seconds": 900}),
        jobs={**ALL_SHARDS, "report": 1},
    ),
    Change(
        name="dataset.num_shards",
        apply=_set("dataset.num_shards", 3),
        jobs={
            "manifest": 1,
            **ALL_SHARDS,
            "motion_shard": 3,
            "appearance_shard": 3,
            "motion_embedding_shard": 3,
            "motion_embedding_index": 1,
            "costs": 1,
            "datacard": 1,
            "report": 1,
        },
    ),
    # Videos and lists.
    Change(
        name="a video added to train",
        apply=lambda checkout: _add_video(checkout, subset="train"),
        jobs={"manifest": 1, **ONE_SHARD, **PAGES, **NETWORK},
        rows={"motion": ("MovingRight/v16",), "appearance": ("MovingRight/v16",), **EMBEDDED},
    ),
    Change(
        name="a video added to test",
        apply=lambda checkout: _add_video(checkout, subset="test"),
        jobs={
            "manifest": 1,
            **ONE_SHARD,
            "datacard": 1,
            "rejects": 1,
            "motion_embedding_shard": 1,
            "motion_embedding_index": 1,
            "costs": 1,
            **EVALUATION,
        },
        rows=dict.fromkeys(("motion", "appearance", "motion_embedding"), ("MovingRight/v16",)),
    ),
    Change(
        name="a video's bytes changed",
        apply=lambda checkout: write_clip(checkout.videos / "MovingRight/v0.mp4", number=18),
        jobs={"manifest": 1, **ONE_SHARD, **PAGES, **NETWORK},
        rows={"motion": ("MovingRight/v0",), "appearance": ("MovingRight/v0",), **EMBEDDED},
    ),
    Change(
        name="a video removed",
        apply=_remove_video,
        jobs={"manifest": 1, **ONE_SHARD, **PAGES, **NETWORK},
        rows=EMBEDDED,
    ),
    Change(
        name="a video renamed",
        apply=_rename_video,
        jobs={"manifest": 1, **ONE_SHARD, **PAGES, **NETWORK},
        rows=EMBEDDED,
    ),
    Change(
        name="a video touched",
        apply=lambda checkout: os.utime(checkout.videos / "MovingRight/v0.mp4"),
        jobs={"manifest": 1},
    ),
    Change(name="a file that is no video added", apply=_add_note, jobs=NOTHING),
    Change(name="a video that no list names added", apply=_add_unlisted_video, jobs={"manifest": 1}),
    Change(name="the dataset moved to another folder", apply=_move_dataset, jobs={"report": 1}),
    Change(name="a list sorted anew", apply=_reverse_lists, jobs={"manifest": 1}),
    Change(
        name="two videos of a class change their subsets",
        apply=_swap_subsets,
        jobs={
            "manifest": 1,
            "motion_index": 1,
            "appearance_index": 1,
            "datacard": 1,
            "motion_pictures": 1,
            **NETWORK,
        },
        rows=EMBEDDED,
    ),
    # Files beside the configuration.
    Change(name="a prompt edited", apply=_edit_prompts, jobs={"text": 1, "head": 1, **EVALUATION}),
    Change(
        name="a weight file replaced",
        apply=_replace_weights,
        jobs={"appearance_shard": 2, "appearance_index": 1, "text": 1, "rejects": 1, **HEAD},
        rows={"appearance": ALL},
    ),
    Change(
        name="a weight file touched",
        apply=lambda checkout: os.utime(checkout.project / "weights/open_clip_model.safetensors"),
        jobs=NOTHING,
    ),
    # Code.
    Change(name="every file of the code touched", apply=_move_checkout, jobs=NOTHING),
    Change(
        name="a rule file laid out anew",
        apply=_edit("workflow/rules/evaluation.smk", r"^rule evaluate:", "# A comment.\n\n\nrule evaluate:"),
        jobs=NOTHING,
    ),
    Change(
        name="a comment in a script and a docstring in the library",
        apply=_edit_comments,
        jobs=NOTHING,
    ),
    Change(
        name="a script edited",
        apply=_edit("workflow/scripts/head.py", r"^with stage", "print('training')\nwith stage"),
        jobs={"head": 1},
    ),
    Change(
        name="an extractor edited without a new version",
        apply=_edit("src/moclip/motion_extraction.py", r" in videos:$", " in list(videos):"),
        jobs={"motion_shard": 2, "motion_index": 1},
    ),
    Change(
        name="an extractor's version raised",
        apply=_edit("src/moclip/versions.py", r"^MOTION_VERSION = \d+", "MOTION_VERSION = 99"),
        jobs={"motion_shard": 2, "motion_index": 1},
        rows={"motion": ALL},
    ),
    Change(
        name="a function that only the evaluation reaches edited",
        apply=_edit("src/moclip/runs.py", r"^_LIBRARIES = \(", '_LIBRARIES = ("pyyaml", '),
        jobs=EVALUATION,
    ),
    # What lies in the results.
    Change(
        name="a shard deleted",
        apply=_delete("motion/original/shard-0.h5"),
        jobs={"motion_shard": 1, "motion_index": 1},
    ),
    Change(
        name="a row damaged, found and removed by moclip verify --fix",
        apply=_corrupt_and_fix,
        jobs={"appearance_shard": 1, "appearance_index": 1},
        rows={"appearance": ("MovingDown/v15",)},
    ),
    Change(name="a table of results deleted", apply=_delete("summary.tsv"), jobs={"summary": 1, "report": 1}),
)


def format_table() -> str:
    """Return the table as docs/caching.md shows it."""
    lines = ["| change | jobs that run | rows that are computed |", "|---|---|---|"]
    for change in CHANGES:
        jobs = ", ".join(f"{rule} {count}" if count > 1 else rule for rule, count in change.jobs.items())
        rows = ", ".join(f"{stage}: {_show_rows(rows)}" for stage, rows in change.rows.items())
        lines.append(f"| {change.name} | {jobs or 'none'} | {rows or 'none'} |")
    return "\n".join(lines)


def _show_rows(rows: tuple[str, ...]) -> str:
    return "all" if rows == ALL else "that one" if len(rows) == 1 else str(len(rows))


if __name__ == "__main__":
    sys.stdout.write(format_table() + "\n")
