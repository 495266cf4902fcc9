"""The `moclip` command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from moclip.cli_draw import add_draw_command
from moclip.config_manual import build_manual
from moclip.contests import format_comparisons, read_comparisons
from moclip.errors import MoclipError
from moclip.summary import format_summary, read_summary

SCHEMA = Path("workflow/schemas/config.schema.yaml")


class _Parser(argparse.ArgumentParser):
    """A parser whose faults are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        raise MoclipError(f"{self.prog}: {message}; see `{self.prog} --help`")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; a fault that the user can mend is one line and exit code 2."""
    try:
        options = _build_parser().parse_args(arguments)
        options.run(options)
    except MoclipError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `moclip summary ... | head` is no fault
        sys.stderr.close()


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="moclip", description="Look at what the workflow made, and at what it sees of a video.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    summary = commands.add_parser("summary", help="print the table of results of a dataset")
    summary.add_argument("folder", type=Path, help="folder of the dataset's results, such as results/demo")
    summary.set_defaults(run=_print_summary)
    manual = commands.add_parser("config-manual", help="print config/README.md, written from the schema")
    manual.add_argument("--schema", type=Path, default=SCHEMA, help=f"the schema (default: {SCHEMA})")
    manual.set_defaults(run=_print_manual)
    add_draw_command(commands)
    return parser


def _print_summary(options: argparse.Namespace) -> None:
    path = options.folder / "summary.tsv"
    print(format_summary(read_summary(path)))
    comparisons = read_comparisons(options.folder / "comparisons.tsv")
    if comparisons:
        print(f"\n{format_comparisons(comparisons)}")
    print(f"\nwritten: {path}, {options.folder / 'report.html'}")


def _print_manual(options: argparse.Namespace) -> None:
    if not options.schema.is_file():
        raise MoclipError(f"{options.schema}: no such schema; run in the project's folder or name it with --schema")
    sys.stdout.write(build_manual(yaml.safe_load(options.schema.read_text(encoding="utf-8"))))
