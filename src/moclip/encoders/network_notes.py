"""The metadata of a trained motion network: its digest, and the videos that it was trained on. Read without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moclip.core.tensors import DIGEST_KEY, expect_tensors, read_note
from moclip.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What shaped a model: the split, and the ids and groups of its training and validation videos."""

    split: int
    video_ids: tuple[str, ...]
    groups: tuple[str, ...]


def read_network_seen(path: Path) -> Seen:
    """Return what shaped the motion network at `path`, from its file, without loading it.

    Raises:
        ModelError: The file is missing or damaged, or says nothing of its training.
    """
    split, video_ids, groups = _read_network_note(path, "split", "trained_on", "trained_on_groups")
    return Seen(split=split, video_ids=tuple(video_ids), groups=tuple(groups))


def read_network_digest(path: Path) -> str:
    """Return the digest of the weights of the motion network at `path`, from the header of its file.

    Equal weights have one digest, also where the notes in their files differ.

    Raises:
        ModelError: As `read_network_seen`.
    """
    return str(_read_network_note(path, DIGEST_KEY)[0])


def read_network_train(path: Path) -> frozenset[str]:
    """Return the ids of the training videos of the motion network at `path`.

    Raises:
        ModelError: As `read_network_seen`.
    """
    return frozenset(_read_network_note(path, "train")[0])


def _read_network_note(path: Path, *keys: str) -> list[Any]:
    with expect_tensors(path, "a trained motion network that names its training videos and the digest of its weights"):
        about = read_note(path)
        return [about[key] for key in keys]


def check_split(seen: Seen, *, split: int, path: Path) -> None:
    """Pass a motion network that was trained for this split.

    Raises:
        ModelError: It was trained for another one, whose training videos are tested here.
    """
    if seen.split != split:
        raise ModelError(
            f"{path}: expected a motion network of split {split}, found one of split {seen.split}; "
            "its training videos may be test videos here"
        )
