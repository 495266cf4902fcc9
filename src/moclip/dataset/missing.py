"""Videos that a list names and the disk lacks: reported with the file that was probably meant."""

import difflib
import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from moclip.dataset.layouts import walk_videos
from moclip.dataset.lists import LabelledVideo
from moclip.errors import DatasetError

_log = logging.getLogger(__name__)

# Similar names are searched for so many videos only, since each is compared with all names of its folder.
_MAX_SIMILAR = 20

_CLOSE = 0.9


def report_missing(
    missing: Sequence[LabelledVideo], *, videos: Sequence[LabelledVideo], root: Path, is_allowed: bool
) -> None:
    """Log every missing video. The stages then reject it with the reason `missing`.

    Args:
        missing: The videos that are not on the disk.
        videos: All listed videos.
        root: Folder of the videos.
        is_allowed: False to stop at any missing video (`dataset.on_bad_video: fail`).

    Raises:
        DatasetError: A video is missing and none may be, or every video of a class is missing, which no list intends.
    """
    if not missing:
        return
    files = _Files(root, listed={video.path for video in videos})
    hints = [files.find_meant(video.path, search=index < _MAX_SIMILAR) for index, video in enumerate(missing)]
    for video, hint in zip(missing, hints, strict=True):
        _log.warning("%s: the video %s is not below %s%s", video.place, video.path, root, hint)
    listed, lost = (Counter(video.class_name for video in some) for some in (videos, missing))
    empty = [name for name, count in lost.items() if count == listed[name]]
    if is_allowed and not empty:
        _log.warning("%d of %d listed videos are missing; rejects.tsv will list them", len(missing), len(videos))
        return
    index = next(i for i, video in enumerate(missing) if not empty or video.class_name == empty[0])
    more = f" (and {len(missing) - 1} more, all in the log of this job)" if len(missing) > 1 else ""
    whole = f"; the class `{empty[0]}` has no video there at all" if empty else ""
    raise DatasetError(
        f"{missing[index].place}: the video `{missing[index].path}` is not below {root}{more}{whole}{hints[index]}; "
        "correct dataset.root, or add the video, or take it off the list"
        + ("" if empty or is_allowed else ", or set `dataset.on_bad_video: skip`")
    )


class _Files:
    """The videos below a root that no list names, by the spellings under which one may name them."""

    def __init__(self, root: Path, *, listed: Collection[str]) -> None:
        self._by_id: dict[str, str] = {}
        self._by_form: dict[str, str] = {}
        self._by_folder: dict[str, list[str]] = {}
        for name in sorted(name for name, _ in walk_videos(root) if name not in listed):
            self._by_id.setdefault(_strip_suffix(name), name)
            self._by_form.setdefault(_normalize(_strip_suffix(name)), name)
            self._by_folder.setdefault(_normalize(name.rpartition("/")[0]), []).append(name)

    def find_meant(self, path: str, *, search: bool) -> str:
        """Return a clause that names the file that a path probably means, or nothing."""
        stem = _strip_suffix(path)
        if found := self._by_id.get(stem):
            return f"; there is `{found}`, with another suffix"
        if found := self._by_form.get(_normalize(stem)):
            kind = "letter case" if _strip_suffix(found).casefold() == stem.casefold() else "Unicode form"
            return f"; there is `{found}`, in another {kind}"
        if not search:
            return ""
        return _name_similar(path, self._by_folder.get(_normalize(path.rpartition("/")[0]), ()))


def _name_similar(path: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(path, names, n=1, cutoff=_CLOSE)
    return f"; there is `{close[0]}`, with a similar name" if close else ""


def _strip_suffix(path: str) -> str:
    return path[: path.rindex(".")]


def _normalize(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
