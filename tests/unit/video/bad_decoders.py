"""Decoders that do to their process what a broken video or a hostile file can; called by name in a worker."""

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from moclip.core.spool import Spool
from moclip.errors import ConfigError, VideoError
from moclip.extraction.frame_choice import decode_frames
from moclip.video.motion_vectors import decode_motion


def misbehave(*, video_id: str, folder: str = "") -> dict[str, Any]:
    """Do what the id of the video says."""
    if video_id == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if video_id == "crashes once":
        note = Path(folder) / "seen"
        if not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
    if video_id == "exits":
        os._exit(3)
    if video_id == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if video_id == "hangs":
        time.sleep(3600)
    if video_id == "hangs in its answer":
        os.write(4, b"\x10")  # the pipe of answers: a part of a length, and nothing more
        time.sleep(3600)
    if video_id == "eats":
        return {"bytes": np.ones(300 << 20, np.uint8)}
    if video_id == "is rejected":
        raise VideoError(reason="no_frames", detail="found none", video_id=video_id)
    if video_id == "finds a fault of the user":
        raise ConfigError("one\ntwo")
    if video_id == "finds the disk full":
        raise OSError(28, "No space left on device", "a file")
    if video_id == "finds a fault of ours":
        raise KeyError("nothing of that name")
    logging.getLogger("decoder").warning("saw %s", video_id)
    return {"process": os.getpid(), "ignores": signal.getsignal(signal.SIGTERM) == signal.SIG_IGN}


def return_values(*, video_id: str, megabytes: int) -> dict[str, Any]:
    """Return one value of every kind."""
    spool = Spool(dtype=np.uint8, item_shape=(1 << 10,))
    for number in range(megabytes):
        spool.append(np.full((1 << 10, 1 << 10), number % 251, np.uint8))
    return {
        "spool": spool,
        "empty": np.empty((0, 4), np.int16),
        "scalar_array": np.array(3.5),
        "turned": np.arange(12, dtype=np.int32).reshape(3, 4).T,
        "not_a_number": float("nan"),
        "third": np.float64(1 / 3),
        "text": f"\udcff of {video_id}",
        "flag": np.bool_(True),
    }


def decode_motion_or_die(**arguments: Any) -> dict[str, Any]:
    """Decode as the stage does, but for the videos whose ids say otherwise."""
    _misbehave_by_name(arguments["video_id"])
    return decode_motion(**arguments)


def decode_frames_or_die(**arguments: Any) -> dict[str, Any]:
    """Decode as the stage does, but for the videos whose ids say otherwise."""
    _misbehave_by_name(arguments["video_id"])
    return decode_frames(**arguments)


def _misbehave_by_name(video_id: str) -> None:
    if Path("mended").exists():
        return
    for word in ("crashes", "hangs", "eats"):
        if video_id.startswith(word):
            misbehave(video_id=word)
