"""Write the JSON schema of the configuration and its manual, config/README.md, from the settings models.

Run `python tools/write_config_manual.py` after an edit of `moclip.config.settings`. A test holds both files in step.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from moclip.config.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
MANUAL = REPOSITORY / "config/README.md"

_HEADER = (
    "# Written by `python tools/write_config_manual.py`: the schema of config/*.yaml, for editors that complete keys.\n"
)

_INTRODUCTION = """# The configuration

Run `snakemake --cores N` to use `config.yaml`, or name another file:

```
snakemake --cores N --configfile mine.yaml
```

| file | experiment |
|---|---|
| `config.yaml` | the demo: rendered videos and a tiny CLIP model, offline, in minutes |
| `ucf101_5.yaml` | five classes of UCF101 with a small encoder and a small motion network, on a laptop |
| `ucf101.yaml` | the protocol of the paper on UCF101: ViT-B/32, EfficientNet-B0, three splits |
| `ucf101-authors.yaml` | UCF101 with the settings of the authors' code; `docs/authors.md` compares both |
| `ucf101-b16.yaml`, `ucf101-l14.yaml`, `ucf101-siglip2.yaml` | larger encoders, each in addition to `ucf101.yaml` |
| `hmdb51.yaml` | the protocol of `ucf101.yaml` on HMDB51 |
| `order.yaml` | rendered videos whose classes are orders of events, offline: only heads that read time name them |

**Several files.** Files named with `--configfile` replace `config.yaml`. They are merged with each other, and a later
file wins. Keep the paths of one machine in a small file and name it last:

```
snakemake --cores N --configfile config/ucf101.yaml my-paths.yaml
snakemake --cores N --configfile config/config.yaml my-paths.yaml
```

In most workflows such a file is merged into the default configuration. Here the default is a complete project with
its own videos, variants and experiments. Merged into it, your configuration would also run those. To change a part of
the default, name `config/config.yaml` first, as above. `--config` changes single keys of the configuration in use:
`--config cache_dir=/data/cache`.

**Defaults and errors.** An absent key has its default. An unknown key is an error that names the nearest known key.
All errors are reported at once. Write numbers as `0.001` or `1.0e-3`, since YAML reads `1e-3` as text.

**Variants.** `motion`, `appearance`, `text`, `motion_network` and `head` hold named variants, and an experiment names
one of each. Experiments share the files of a common variant. Features of two variants exist at the same time, so
returning to an earlier one computes nothing.

**What a change reruns.** A change of a key reruns the stages that read it, and the stages below them if its results
changed. A new learning rate of a head trains that head. A new `embedding.num_segments` of a motion network embeds
videos again and trains heads, and a new `train.epochs` trains the network as well. No video is decoded again for any
of these.
"""


def main() -> None:
    """Write both files."""
    SCHEMA.write_text(build_schema(), encoding="utf-8")
    MANUAL.write_text(build_manual(), encoding="utf-8")


def build_schema() -> str:
    """Return the JSON schema of the configuration as YAML."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_titles(Settings.model_json_schema()),
    }
    return _HEADER + yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=120)


def _without_titles(node: Any) -> Any:
    # pydantic adds a title to every key, which repeats the name of the key.
    if isinstance(node, dict):
        return {key: _without_titles(below) for key, below in node.items() if key != "title" or isinstance(below, dict)}
    return [_without_titles(below) for below in node] if isinstance(node, list) else node


def build_manual() -> str:
    """Return config/README.md: a table of keys for each section of the schema."""
    schema = Settings.model_json_schema()
    parts = [_INTRODUCTION]
    for name, node in schema["properties"].items():
        section = _resolve(node, schema=schema)
        parts.append(f"\n## `{name}`\n\n{section['description']}\n")
        named = list(section.get("patternProperties", {}).values())
        entry = _resolve(named[0], schema=schema) if named else section
        if "properties" in entry:
            rows = _rows(entry, prefix="<name>." if named else "", schema=schema)
            parts.append("\n| key | values | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
        else:
            parts.append(f"\nDefault: `{section['default']}`.\n")
    return "".join(parts)


def _resolve(node: Mapping[str, Any], *, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    target: Mapping[str, Any] = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _rows(entry: Mapping[str, Any], *, prefix: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for key, below in entry["properties"].items():
        node = _resolve(below, schema=schema)
        if "properties" in node:
            yield from _rows(node, prefix=f"{prefix}{key}.", schema=schema)
        else:
            yield _row(f"{prefix}{key}", node, is_required=key in entry.get("required", ()))


def _row(key: str, node: Mapping[str, Any], *, is_required: bool) -> str:
    default = "required" if is_required else f"`{_show(node['default'])}`" if node.get("default", "") != "" else ""
    description = node["description"].replace("|", "\\|")
    return f"| `{key}` | {_values(node)} | {default} | {description} |"


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    whole = isinstance(value, float) and value.is_integer()
    return value if isinstance(value, str) else json.dumps(int(value) if whole else value)


def _values(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {_values(node['items'])}"
    kind = {"string": "text", "object": "keys and lists"}.get(node["type"], node["type"])
    lower = f"above {node['exclusiveMinimum']:g}" if "exclusiveMinimum" in node else f"{node.get('minimum', 0):.12g}"
    return f"{kind}, {lower} to {node['maximum']:.12g}" if "maximum" in node else str(kind)


if __name__ == "__main__":
    main()
