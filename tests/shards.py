"""A shard with given rows and its index, for tests of what reads features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moclip.cache.format import Field, Row, ShardHeader, build_signature
from moclip.cache.index import write_index
from moclip.cache.writer import write_shard
from moclip.core.records import write_record


def write_indexed_shard(
    folder: Path,
    rows: Sequence[Row],
    *,
    fields: Sequence[Field],
    extractor: str = "test",
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    """Write the shard `shard-0.h5` of some rows, its index and the record of the index; return the index."""
    parameters = dict(parameters or {})
    keys = [(row.video_id, row.row_key) for row in rows]
    signature = build_signature(extractor=extractor, version=1, parameters=parameters, rows=keys)
    header = ShardHeader(
        extractor=extractor, extractor_version=1, parameters=parameters, signature=signature, provenance={}
    )
    write_shard(folder / "shard-0.h5", rows=rows, fields=fields, header=header)
    index = folder / "index.json"
    write_index(index, signatures={"shard-0.h5": signature})
    write_record([str(index)], rule="index", params={})
    return index
