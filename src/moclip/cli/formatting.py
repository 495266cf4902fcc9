"""Help texts, tables and JSON that several commands print."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def add_command(
    commands: "argparse._SubParsersAction[Any]",
    name: str,
    *,
    summary: str,
    text: str,
    run: Callable[[argparse.Namespace], None],
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Return the parser of a new command that calls `run`. Its help starts with `text`: examples first."""
    layout = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=text, usage=usage, formatter_class=layout
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add `--tsv` and `--json`, of which one may be given."""
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--tsv", action="store_true", help="print tab-separated values")
    output.add_argument("--json", action="store_true", help="print JSON")


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same columns as tab-separated values, None as nothing."""
    table = csv.writer(sys.stdout, dialect="excel-tab", lineterminator="\n")
    table.writerow(list(rows[0]) if rows else [])
    for row in rows:
        table.writerow(["" if value is None else value for value in row.values()])


def print_json(document: Any) -> None:
    """Print a document as JSON."""
    print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
