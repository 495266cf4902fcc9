"""Seeded damage: to bytes, to documents of JSON and YAML, and to lines of text."""

import copy
import math
import random
from collections.abc import Iterator
from typing import Any

# What people, and hostile files, put where a number or a name should be.
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.0, 2.5, 10**30, -(10**400), 1e308, math.nan, math.inf, -math.inf, "", " ", "1e-3",
    "null", "../../etc", "/etc/passwd", "a\0b", "a\nb", "name\n", "x" * 5000, "\u202egpj.exe", "e\u0301", "-rf",
    "{shard}", "<script>",
    [], [None], {}, {"a": None}, {1: 2}, [[[[]]]], ["a", 1, None], {"": ""}, b"bytes", "\ud800",
)  # fmt: skip


def flip_bytes(data: bytes, rng: random.Random, *, most: int = 8) -> bytes:
    """Return the bytes with a few of them changed."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, most)):
        damaged[rng.randrange(len(damaged))] ^= rng.randint(1, 255)
    return bytes(damaged)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes flipped, cut off, with a stretch of zeros, doubled, moved or replaced."""
    kind = rng.randrange(7)
    at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    if kind <= 2:
        return flip_bytes(data, rng)
    if kind == 3:
        return data[:at]
    if kind == 4:
        return data[:at] + bytes(to - at) + data[to:]
    if kind == 5:
        return data[:at] + data[to:]
    return data[:at] + rng.randbytes(to - at) + data[to:]


def damage_document(document: Any, rng: random.Random) -> Any:
    """Return a document of mappings and lists with one to three of its places replaced, removed, renamed or doubled."""
    changed = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            return rng.choice(JUNK)
        parent, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind <= 1:
            parent[key] = copy.deepcopy(rng.choice(JUNK))
        elif kind == 2:
            del parent[key]
        elif kind == 3 and isinstance(parent, dict):
            junk = rng.choice(JUNK)
            parent[junk if isinstance(junk, str | int | float | bool | None) else "unknown"] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(rng.choice(places)[0])
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield value, key
            yield from _places(below)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield value, index
            yield from _places(below)


def damage_lines(text: str, rng: random.Random) -> str:
    """Return a text with some of its lines doubled, swapped, removed, or with a cell or a word replaced."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines.insert(at, rng.choice(lines))
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        elif kind == 2:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            separator = rng.choice("\t/ ,_")
            cells = lines[at].split(separator)
            junk = rng.choice([entry for entry in JUNK if isinstance(entry, str | int | float)])
            cells[rng.randrange(len(cells))] = f"{junk:.3g}" if isinstance(junk, float) else str(junk)[:5000]
            lines[at] = separator.join(cells)
    return "\n".join(lines)
