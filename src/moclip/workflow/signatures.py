"""Signatures: digests of the parts of the manifest, the indexes, the models and the small files that a job reads.

Each signature is a text `sig:<32 hex digits>`. It is `sig:pending` while the file that it is read from does not exist:
that file is a gate above every job that asks for it, so the signature is evaluated again before the job starts.
A file is read once for each state (size, mtime, inode) that it is found in.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cache.index import FeatureIndex, read_index
from moclip.config.settings import AppearanceVariant
from moclip.core.digests import FileDigests
from moclip.dataset.manifest import read_manifest
from moclip.encoders.spec import tokenizer_fingerprint, weights_fingerprint
from moclip.errors import MoclipError
from moclip.training.head_files import read_seed_digests

if TYPE_CHECKING:
    import pandas as pd


PENDING = "sig:pending"

State = tuple[int, int, int]


def sign(content: bytes | str) -> str:
    """Return the signature of some content."""
    data = content.encode() if isinstance(content, str) else content
    return f"sig:{blake2b(data, digest_size=16).hexdigest()}"


class Signatures:
    """Signatures of the files of one dataset's results."""

    def __init__(self, manifest: str | Path) -> None:
        """Take the path of the manifest; it need not exist yet."""
        self._manifest = Path(manifest)
        # The last value computed from a file, with the file's state: one state of the manifest is kept at a time.
        self._values: dict[tuple[Path, Any], tuple[State, Any]] = {}

    def _read(self, path: Path, key: Any, read: Callable[[], Any]) -> Any:
        # Returns the value of `read` for the present state of a file, or None if the file does not exist.
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._values.get((path, key))
        if known is None or known[0] != state:
            known = self._values[path, key] = (state, read())
        return known[1]

    def _of_table(self, key: Any, compute: Callable[["pd.DataFrame"], Any]) -> Any:
        # Returns the value of a function of the manifest, or `sig:pending` before it exists.
        def read() -> Any:
            frame = self._read(self._manifest, "table", lambda: read_manifest(self._manifest))
            return None if frame is None else compute(frame)

        found = self._read(self._manifest, key, read)
        return PENDING if found is None else found

    def columns(self, columns: Sequence[str]) -> str:
        """Return the signature of some columns of the manifest."""
        return str(self._of_table(("columns", *columns), lambda frame: _sign_columns(frame, columns)))

    def features(self, columns: Sequence[str] = ("video_id", "shard", "fingerprint")) -> str:
        """Return the signature of the parts of the manifest that an index reads: columns, and the subsets of splits."""

        def compute(frame: "pd.DataFrame") -> str:
            return _sign_columns(frame, [*columns, *(name for name in map(str, frame) if name.startswith("split_"))])

        return str(self._of_table(("features", *columns), compute))

    def classes(self) -> str:
        """Return the signature of the class names in the order of their indices."""
        columns = ["class_name", "class_index"]

        def compute(frame: "pd.DataFrame") -> str:
            return _sign_columns(frame.drop_duplicates(columns).sort_values("class_index"), columns)

        return str(self._of_table("classes", compute))

    def num_classes(self) -> str:
        """Return the number of classes, as a signature: it does not change with their names."""
        return str(self._of_table("num_classes", lambda frame: f"sig:{frame['class_index'].nunique()} classes"))

    def labels(self, split: int | str, subsets: Sequence[str], *, names: bool) -> str:
        """Return the signature of the videos, class indices and groups of some subsets of a split.

        With `names` the class names count too.
        """
        column = f"split_{split}"
        columns = ["video_id", *(["class_name"] if names else []), "class_index", "group", column]

        def compute(frame: "pd.DataFrame") -> str:
            # A split that the dataset does not have is reported by the job that reads it.
            if column not in frame:
                return f"sig:no {column}"
            return _sign_columns(frame[frame[column].isin(subsets)], columns)

        return str(self._of_table(("labels", column, *subsets, names), compute))

    def class_counts(self, split: int | str, subset: str) -> str:
        """Return the signature of how many videos of each class a subset of a split has."""
        column = f"split_{split}"

        def compute(frame: "pd.DataFrame") -> str:
            if column not in frame:
                return f"sig:no {column}"
            counts = frame.loc[frame[column] == subset, "class_index"].value_counts().sort_index()
            return sign(counts.to_csv())

        return str(self._of_table(("class_counts", column, subset), compute))

    def trained_on(self, splits: Iterable[int]) -> str:
        """Return the signature of the videos that are in the training subset of each of some splits."""
        columns = [f"split_{split}" for split in splits]

        def compute(frame: "pd.DataFrame") -> str:
            rows = frame[(frame.reindex(columns=columns) == "train").all(axis=1)]
            return _sign_columns(rows, ["video_id", "path", "class_name", "class_index", "fingerprint"])

        return str(self._of_table(("trained_on", *columns), compute))

    def _shards(self) -> dict[int, tuple[str, int]]:
        def compute(frame: "pd.DataFrame") -> dict[int, tuple[str, int]]:
            lines = frame["video_id"].str.cat(frame[["path", "fingerprint"]], sep="\t").tolist()
            shards: dict[int, list[str]] = {}
            for shard, line in zip(frame["shard"].tolist(), lines, strict=True):
                shards.setdefault(shard, []).append(line)
            return {shard: (sign("\n".join(listed)), len(listed)) for shard, listed in shards.items()}

        found = self._of_table("shards", compute)
        return {} if found == PENDING else found

    def videos(self, shard: int | str) -> str:
        """Return the signature of the videos of one shard of the manifest."""
        if not self._manifest.is_file():
            return PENDING
        return self._shards().get(int(shard), (sign(""), 0))[0]

    def num_videos(self, shard: int | str | None = None) -> int:
        """Return the number of videos of a shard, or of the dataset; 0 before there is a manifest."""
        shards = self._shards()
        if shard is None:
            return sum(count for _, count in shards.values())
        return shards.get(int(shard), ("", 0))[1]

    def _index(self, path: str) -> FeatureIndex | None:
        found: FeatureIndex | None = self._read(Path(path), "index", partial(_try_read, read_index, path, damaged=None))
        return found

    def rows(self, indexes: Sequence[str]) -> str:
        """Return the signature of all rows of some feature sets, however they are distributed over shards."""
        found = [self._index(path) for path in indexes]
        return sign("".join(index.content for index in found if index)) if all(found) else PENDING

    def subset_rows(self, indexes: Sequence[str], *, split: int | str, subsets: Sequence[str]) -> str:
        """Return the signature of the rows of some subsets of a split in some feature sets."""
        found = [self._index(path) for path in indexes]
        try:
            contents = [index.content_of(split=int(split), subsets=subsets) for index in found if index]
        except MoclipError:  # the index was written before the dataset had the split
            return PENDING
        return sign("".join(contents)) if all(found) else PENDING

    def shard_rows(self, index: str, shard: int | str) -> str:
        """Return the signature of the rows of one shard of a feature set."""
        found = self._index(index)
        return PENDING if found is None else f"sig:{found.shard_contents.get(f'shard-{shard}.h5', 'absent')}"

    def head(self, path: str, *, seed: int) -> str:
        """Return the signature of the heads of one seed in a file of the heads of several."""
        digests = self._read(Path(path), "heads", partial(_try_read, read_seed_digests, path, damaged={}))
        return PENDING if digests is None else f"sig:{digests.get(seed, 'absent')}"

    def model(self, path: str) -> str:
        """Return the signature of a safetensors file by its header, which holds a digest of the tensors."""

        def read() -> str:
            with Path(path).open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                return sign(file.read(min(size, 2**30)))

        found = self._read(Path(path), "model", read)
        return PENDING if found is None else str(found)

    def files(self, paths: Collection[str]) -> str:
        """Return the signature of the bytes of some files."""
        found = [self._read(Path(path), "bytes", partial(_sign_file, Path(path))) for path in paths]
        return sign("\n".join(found)) if all(found) else PENDING


def _try_read(read: Callable[[Path], Any], path: str, *, damaged: Any) -> Any:
    # A file that is damaged, or of an older format, is reported or replaced by the job that reads or writes it.
    try:
        return read(Path(path))
    except MoclipError:
        return damaged


def _sign_file(path: Path) -> str:
    return sign(path.read_bytes())


def _sign_columns(frame: "pd.DataFrame", columns: Sequence[str]) -> str:
    # Column by column, several times as fast as through a CSV file; no cell of a manifest holds a line break.
    cells = frame.reindex(columns=list(columns)).astype(str)
    return sign("\n\n".join("\n".join([name, *cells[name]]) for name in columns))


def parse_content(path: Path, *, parse: Callable[[str], Any]) -> str:
    """Return the parsed content of a small file as sorted JSON, or its bytes' digest if it cannot be parsed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    try:
        return json.dumps(parse(content.decode()), sort_keys=True, default=str)
    except Exception:  # a parser raises many types: the job that reads the file reports the error
        return blake2b(content, digest_size=16).hexdigest()


class Contents:
    """Texts that identify the content of files, independent of their paths and times."""

    def __init__(self, cache_dir: str | Path) -> None:
        """Take the folder of the cache, where digests are remembered."""
        self._digest = FileDigests(cache_dir)

    def weights(self, weights: str) -> str:
        """Return the digest of a file of weights, or the text itself if it is a tag or `none`."""
        try:
            return self._digest(weights) if Path(weights).is_file() else weights
        except OSError as error:
            return f"unreadable: {error.strerror}"

    def encoder(self, variant: AppearanceVariant) -> str:
        """Return a text that differs between the encoders of two appearance variants.

        A missing or invalid file gives its message: the job that loads the encoder reports it.
        """
        return _or_message(lambda: weights_fingerprint(variant, digest=self._digest))

    def tokenizer(self, variant: AppearanceVariant) -> str:
        """Return a text that differs between the tokenizers of two appearance variants."""
        return _or_message(lambda: tokenizer_fingerprint(variant))


def _or_message(read: Callable[[], Any]) -> str:
    try:
        return str(read())
    except (MoclipError, OSError) as error:
        return f"invalid: {error}"
