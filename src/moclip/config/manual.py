"""Generate the manual of all configuration keys from the schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_INTRODUCTION = """# The configuration

This page is written from `workflow/schemas/config.schema.yaml` by `moclip config-manual > config/README.md`.

`config.yaml` is the default. `snakemake --cores N --configfile mine.yaml` runs `mine.yaml` in its stead; several files
after `--configfile` are merged, the later one winning, so that paths of one machine can live in a file of their own:
`--configfile config/ucf101.yaml my-paths.yaml`. A key that is absent has its default. An unknown key is an error that
names the nearest known one.

| file | what it runs |
|---|---|
| `config.yaml` | the demo: rendered videos and a tiny CLIP, offline, in minutes |
| `ucf101_5.yaml` | five classes of UCF101 with a small encoder and a small motion network, on a laptop |
| `ucf101.yaml` | the protocol of the paper on UCF101: ViT-B/32, EfficientNet-B0, three splits |
| `hmdb51.yaml` | the same on HMDB51 |

**Variants.** `motion`, `appearance`, `text`, `motion_network` and `head` each hold named variants; an experiment names
one of each. Experiments that name the same variant share its files, two variants live side by side, and going back to
an earlier one costs nothing. Write numbers as `0.001` or `1.0e-3`: YAML reads `1e-3` as text.

**What a change reruns.** A key reruns the stages that read it and those below them, unless what they read came out the
same. A head's learning rate reruns heads; `test.num_segments` of a motion network its embeddings and the heads; its
`train.epochs` the network as well; neither touches a video.
"""


def build_manual(schema: Mapping[str, Any]) -> str:
    """Return config/README.md: a table of keys for each section of the schema."""
    parts = [_INTRODUCTION]
    for name, section in schema["properties"].items():
        parts.append(f"\n## `{name}`\n\n{section.get('description', '')}\n".replace("\n\n\n", "\n\n"))
        rows = list(_section_rows(section, schema=schema))
        if rows:
            parts.append("\n| key | values | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _section_rows(section: Mapping[str, Any], *, schema: Mapping[str, Any]) -> Iterator[str]:
    target = section if "$ref" in section else section.get("additionalProperties", {})
    if isinstance(target, Mapping) and "$ref" in target:
        entry = _follow(target, schema=schema)
        yield from _rows(entry, prefix="" if "$ref" in section else "<name>.", schema=schema)
    elif "type" in section and "properties" not in section:
        yield _row("", section, required=False)


def _follow(node: Mapping[str, Any], *, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    target: Mapping[str, Any] = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _rows(entry: Mapping[str, Any], *, prefix: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for key, below in entry.get("properties", {}).items():
        node = _follow(below, schema=schema)
        if "properties" in node:
            yield from _rows(node, prefix=f"{prefix}{key}.", schema=schema)
        else:
            yield _row(f"{prefix}{key}", node, required=key in entry.get("required", ()))


def _row(key: str, node: Mapping[str, Any], *, required: bool) -> str:
    default = "required" if required else f"`{json.dumps(node['default'])}`" if "default" in node else ""
    description = node["description"].replace("|", "\\|").replace("\n", " ").strip()
    return f"| {f'`{key}`' if key else ''} | {_values(node)} | {default} | {description} |"


def _values(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        return f"list of {_values(node['items'])}"
    return str(node.get("type", ""))
