"""Edits of a project: what users and accidents change between two runs."""

import copy
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.workflow.checkout import Checkout, break_video, path_of, write_clip

Edit = Callable[[Checkout], None]
DAY = 86400


def nothing(checkout: Checkout) -> None:
    """Change nothing."""


def together(*edits: Edit) -> Edit:
    """Return the edits as one."""

    def apply(checkout: Checkout) -> None:
        for edit in edits:
            edit(checkout)

    return apply


# The configuration.
def section_of(checkout: Checkout, path: str) -> tuple[dict[str, Any], str]:
    """Return the mapping that holds a dotted key, and the last part of the key."""
    *above, last = path.split(".")
    section = checkout.config
    for number, key in enumerate(above):
        # Sections may be absent, entries of them may not.
        section = section[key] if number < 2 and above[0] != "report" else section.setdefault(key, {})
    return section, last


def set_key(path: str, value: object) -> Edit:
    """Return the edit that gives a key another value."""

    def apply(checkout: Checkout) -> None:
        section, last = section_of(checkout, path)
        section[last] = copy.deepcopy(value)

    return apply


def add_entry(section: str, name: str, *, like: str = "", **entry: Any) -> Edit:
    """Return the edit that adds a variant or an experiment, with the keys of another one where `like` names it."""

    def apply(checkout: Checkout) -> None:
        base = checkout.config[section][like] if like else {}
        checkout.config[section][name] = copy.deepcopy({**base, **entry})

    return apply


def remove_experiment(name: str) -> Edit:
    """Return the edit that removes an experiment."""
    return lambda checkout: checkout.config["experiments"].pop(name) and None


def order_experiments(*first: str) -> Edit:
    """Return the edit that puts some experiments before the others."""

    def apply(checkout: Checkout) -> None:
        entries = checkout.config["experiments"]
        order = [*first, *(name for name in entries if name not in first)]
        checkout.config["experiments"] = {name: entries[name] for name in order}

    return apply


def rename_entry(section: str, old: str, new: str) -> Edit:
    """Return the edit that renames a variant or an experiment, and every reference to it."""

    def apply(checkout: Checkout) -> None:
        entries = checkout.config[section]
        assert old in entries
        checkout.config[section] = {new if name == old else name: entry for name, entry in entries.items()}
        for others in ("appearance", "text", "motion_network", "experiments"):
            for entry in checkout.config[others].values():
                if entry.get(section) == old:
                    entry[section] = new

    return apply


def reverse_config(checkout: Checkout) -> None:
    """Write the sections of the configuration, and the keys of its variants, in the opposite order."""
    for name, section in checkout.config.items():
        if name not in {"experiments", "cache_dir"}:
            checkout.config[name] = dict(reversed(section.items()))
    checkout.config = dict(reversed(checkout.config.items()))


# Videos and lists.
def add_video(number: int, *, split_1: str, split_2: str, like: int | None = None) -> Edit:
    """Return the edit that adds a video to the dataset, with the bytes of another number where `like` gives one."""

    def apply(checkout: Checkout) -> None:
        path = path_of(number)
        assert all(line["video"] != path for line in checkout.read_lists()), f"{path} is listed already"
        content = number if like is None else like
        if content < 24:
            shutil.copyfile(checkout.videos / path_of(content), checkout.videos / path)
        else:
            write_clip(checkout.videos / path, number=content)
        line = {"video": path, "class": path.split("/")[0], "group": f"n{number}"}
        checkout.write_lists([*checkout.read_lists(), {**line, "split_1": split_1, "split_2": split_2}])

    return apply


def remove_video(number: int) -> Edit:
    """Return the edit that removes a video from the folder and from the lists."""

    def apply(checkout: Checkout) -> None:
        (checkout.videos / path_of(number)).unlink()
        checkout.write_lists([line for line in checkout.read_lists() if line["video"] != path_of(number)])

    return apply


def move_video(number: int, *, path: str, class_name: str) -> Edit:
    """Return the edit that gives a video another path and class."""

    def apply(checkout: Checkout) -> None:
        (checkout.videos / path).parent.mkdir(exist_ok=True)
        (checkout.videos / path_of(number)).rename(checkout.videos / path)
        checkout.edit_lists(path_of(number), video=path, class_=class_name)

    return apply


def swap_contents(one: int, other: int) -> Edit:
    """Return the edit that exchanges the files of two videos."""

    def apply(checkout: Checkout) -> None:
        first, second = checkout.videos / path_of(one), checkout.videos / path_of(other)
        assert first.is_file(), first
        assert second.is_file(), second
        first.rename(checkout.videos / "swapped")
        second.rename(first)
        (checkout.videos / "swapped").rename(second)

    return apply


def rewrite_video(number: int, *, content: int) -> Edit:
    """Return the edit that replaces a video by the one of another number."""
    return lambda checkout: write_clip(checkout.videos / path_of(number), number=content)


def ruin_video(number: int) -> Edit:
    """Return the edit that replaces a video by bytes that no decoder reads."""
    return lambda checkout: break_video(checkout.videos / path_of(number), number=100 + number)


def ruin_video_unseen(number: int) -> Edit:
    """Return the edit that does so and keeps the size and the mtime of the file."""

    def apply(checkout: Checkout) -> None:
        path = checkout.videos / path_of(number)
        replace_unseen(path, b"no video".ljust(path.stat().st_size, b"-"))

    return apply


def exchange_groups(one: str, other: str, *, split: str) -> Edit:
    """Return the edit that exchanges the subsets of two groups of one class in a split."""

    def apply(checkout: Checkout) -> None:
        lines = checkout.read_lists()
        subsets = {line["group"]: line[split] for line in lines}
        for line in lines:
            if line["group"] in {one, other}:
                line[split] = subsets[other if line["group"] == one else one]
        checkout.write_lists(lines)

    return apply


def rename_class(old: str, new: str) -> Edit:
    """Return the edit that renames a class in the lists; its videos keep their paths."""

    def apply(checkout: Checkout) -> None:
        lines = checkout.read_lists()
        checkout.write_lists([{**line, "class": new if line["class"] == old else line["class"]} for line in lines])

    return apply


def reverse_lists(checkout: Checkout) -> None:
    """Write the lists in the opposite order."""
    path = checkout.project / "videos.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")


def move_dataset(checkout: Checkout) -> None:
    """Rename the root of the dataset."""
    checkout.videos.rename(checkout.project / "elsewhere")
    checkout.config["dataset"]["root"] = "elsewhere"


def add_note(checkout: Checkout) -> None:
    """Put a file that is no video next to the videos."""
    (checkout.videos / "MovingRight/notes.txt").write_text("Not a video.")


# Files next to the configuration.
WEIGHTS = "weights/open_clip_model.safetensors"
ENCODER = "weights/open_clip_config.json"
TEMPLATES = "prompts/templates.yaml"


def write_file(path: str, content: bytes) -> Edit:
    """Return the edit that writes a file of the project."""
    return lambda checkout: (checkout.project / path).write_bytes(content) and None


def edit_file(path: str, change: Callable[[bytes], bytes]) -> Edit:
    """Return the edit that changes the bytes of a file of the project and keeps its inode."""

    def apply(checkout: Checkout) -> None:
        file = checkout.project / path
        before = file.read_bytes()
        after = change(before)
        assert after != before, f"{path}: the edit changes nothing"
        file.write_bytes(after)

    return apply


def edit_file_unseen(path: str, change: Callable[[bytes], bytes]) -> Edit:
    """Return the edit that replaces a file by another one with the same mtime, as `cp -p` and `rsync -a` do."""

    def apply(checkout: Checkout) -> None:
        before = (checkout.project / path).read_bytes()
        assert change(before) != before, f"{path}: the edit changes nothing"
        replace_unseen(checkout.project / path, change(before))

    return apply


def replace_unseen(path: Path, content: bytes) -> None:
    """Replace a file by another one with the same mtime."""
    status = path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def touch(path: str, *, seconds: float = 0) -> Edit:
    """Return the edit that gives a file of the project a new mtime, some seconds after now."""

    def apply(checkout: Checkout) -> None:
        stamp = time.time() + seconds
        os.utime(checkout.project / path, (stamp, stamp))

    return apply


def copy_over(path: str) -> Edit:
    """Return the edit that writes a copy of a file over it."""

    def apply(checkout: Checkout) -> None:
        file = checkout.project / path
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)

    return apply


def rename_encoder(checkout: Checkout) -> None:
    """Rename the folder of the encoder."""
    (checkout.project / "weights").rename(checkout.project / "encoder")
    for variant in checkout.config["appearance"].values():
        variant["model"] = "local-dir:encoder"


# Code.
def edit_code(path: str, pattern: str, replacement: str) -> Edit:
    """Return the edit that replaces the first match of a pattern in a file of the code."""

    def apply(checkout: Checkout) -> None:
        file = checkout.code / path
        text, count = re.subn(pattern, replacement, file.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, f"{path}: expected a match of {pattern!r} to edit, found none"
        file.write_text(text)

    return apply


def touch_code(checkout: Checkout) -> None:
    """Give every file of the code a new mtime, as a clone does."""
    for path in checkout.code.rglob("*.py"):
        os.utime(path)


# Results.
def delete(*paths: str) -> Edit:
    """Return the edit that deletes files or folders of the project."""

    def apply(checkout: Checkout) -> None:
        for path in paths:
            found = checkout.project / path
            assert found.exists(), f"{path}: expected a file or folder to delete, found none"
            shutil.rmtree(found) if found.is_dir() else found.unlink()

    return apply


def replace_result(path: str, content: bytes) -> Edit:
    """Return the edit that puts another file in the place of a result, with another inode."""

    def apply(checkout: Checkout) -> None:
        file = checkout.results / path
        assert file.is_file(), f"{path}: expected a result, found none"
        file.unlink()
        file.write_bytes(content)

    return apply


def edit_result(path: str, old: str, new: str) -> Edit:
    """Return the edit that replaces a text in a result, as an editor does."""

    def apply(checkout: Checkout) -> None:
        file = checkout.results / path
        before = file.read_text()
        assert old in before, f"{path}: expected {old!r}, found none"
        file.unlink()
        file.write_text(before.replace(old, new, 1))

    return apply


def append_to_result(path: str, text: str = "\n") -> Edit:
    """Return the edit that appends a text to a result."""

    def apply(checkout: Checkout) -> None:
        with (checkout.results / path).open("a") as file:
            file.write(text)

    return apply


def relabel_manifest(checkout: Checkout) -> None:
    """Give one video of the manifest another class by hand."""
    file = checkout.results / "manifest.tsv"
    lines = file.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("MovingRight/v0\t"))
    lines[number] = lines[number].replace("\tMovingRight\t2\t", "\tMovingDown\t1\t")
    file.write_text("\n".join(lines) + "\n")


def damage_row(shard: str) -> Edit:
    """Return the edit that flips a byte of the first embedding of a shard, in place, and so in the cache as well."""

    def apply(checkout: Checkout) -> None:
        file = checkout.results / shard
        content = bytearray(file.read_bytes())
        content[first_embedding(file)] ^= 0xFF
        with file.open("r+b") as opened:
            opened.write(content)

    return apply


def first_embedding(shard: Path) -> int:
    """Return the place of the first embedding in the bytes of a shard, which stores it without compression."""
    from moclip.cache.reader import Shard  # noqa: PLC0415 (only this edit needs it)

    with Shard(shard) as opened:
        first = opened.read_row_at(0)
    return shard.read_bytes().index(first.values["embedding"].tobytes())  # type: ignore[union-attr]


def fix(checkout: Checkout) -> None:
    """Remove damaged rows by `moclip verify --fix`."""
    checkout.write_config()
    fixed = checkout.moclip("verify", "--fix", "--configfile", "config.yaml")
    assert fixed.code == 0, fixed.output
    assert "1 damaged" in fixed.output, fixed.output


def move_project(checkout: Checkout) -> None:
    """Move the project and its code to another folder."""
    moved = checkout.folder.with_name("moved")
    checkout.folder.rename(moved)
    checkout.folder = moved


def prompts_of(*templates: str) -> bytes:
    """Return the file of some templates."""
    return yaml.safe_dump({"templates": list(templates)}).encode()
