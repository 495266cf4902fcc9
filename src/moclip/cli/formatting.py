"""Help texts, tables and JSON that several commands print."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        name, help=summary, description=text, usage=usage, formatter_class=layout, allow_abbrev=False
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add `--tsv` and `--json`, of which one may be given."""
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--tsv", action="store_true", help="print tab-separated values")
    output.add_argument("--json", action="store_true", help="print JSON")


def print_results(
    documents: Sequence[Any], *, rows: Sequence[Mapping[str, Any]], lines: Iterable[str], options: argparse.Namespace
) -> None:
    """Print results as JSON, as a table with tab-separated values (an empty cell for None), or as lines of text."""
    if options.json:
        print(json.dumps(documents, indent=1, ensure_ascii=False, allow_nan=False))
    elif options.tsv:
        table = csv.writer(sys.stdout, dialect="excel-tab", lineterminator="\n")
        table.writerow(list(rows[0]) if rows else [])
        table.writerows(["" if value is None else value for value in row.values()] for row in rows)
    else:
        for line in lines:
            print(line)
