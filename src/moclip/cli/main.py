"""The `moclip` command: its parser and its entry point."""

import argparse
import difflib
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from moclip import __version__
from moclip.cli.cache import add_cache_commands
from moclip.cli.draw import add_draw_command, add_figures_command
from moclip.cli.formatting import add_command
from moclip.cli.predict import add_predict_commands
from moclip.cli.search import add_search_commands
from moclip.errors import MoclipError, explain_system_fault

_TEXT = """\
examples:
  moclip summary results/demo
  moclip predict results/demo/experiments/fusion/split-1/seed-0 video.mp4
  moclip search results/demo "a person doing lunges"
  moclip draw video.mp4 --output motion.html

Inspect results, run a trained model on new videos, and visualize motion vectors. `moclip COMMAND --help` has more
examples, docs/tutorial.md explains all of them.
"""

_SUMMARY = """\
examples:
  moclip summary results/demo

Prints every method of every experiment: top-1 with its intervals over seeds and over groups of test videos, and chance.
Then the differences between methods. docs/statistics.md explains every column.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others, and name the nearest known word."""

    def error(self, message: str) -> NoReturn:
        raise MoclipError(f"{self.prog}: {message}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = list(map(str, action.choices))
            message = f"expected one of {', '.join(known)}; found {value!r}{_suggest(str(value), known=known)}"
            raise argparse.ArgumentError(action, message)

    def refuse(self, word: str, *, takes_videos: bool) -> NoReturn:
        """Raise an error about an option that does not exist, which may be meant as the name of a video."""
        hint = _suggest(word.split("=", maxsplit=1)[0], known=self._option_string_actions)
        if takes_videos and (not hint or Path(word).exists()):
            hint = _explain_dash(word)
        self.error(f"unknown option {word}{hint}" if word.startswith("-") else f"unexpected argument {word}")


def _explain_dash(word: str) -> str:
    return f"; for a file of this name write ./{word}, or put -- in front of the videos"


def _suggest(word: str, *, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; an error that the user can correct is one line and exit code 2.

    Any other error is one line too, and exit code 1; its traceback is in a file that the line names.
    """
    try:
        options = parse_arguments(arguments)
        options.run(options)
    except BrokenPipeError:  # `moclip summary ... | head` is not an error
        sys.stderr.close()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        known = error if isinstance(error, MoclipError) else explain_system_fault(error)
        if known is not None:
            print(f"error: {known}", file=sys.stderr)
            sys.exit(2)
        print(f"internal error: {type(error).__name__}: {error}; {_write_traceback()}", file=sys.stderr)
        sys.exit(1)


def _write_traceback() -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="moclip-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exc(file=file)
    except OSError as error:
        return f"its traceback cannot be written ({error.strerror})"
    return f"traceback in {file.name}; please report it"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line, or of this process if it is None.

    Raises:
        MoclipError: A word is unknown or missing.
    """
    words = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    try:
        options, more = parser.parse_known_args(words)
    except MoclipError as error:
        if words and "required: COMMAND" in str(error):
            parser.refuse(words[0], takes_videos=False)
        named = [word for word in words if word.startswith("-") and "=" not in word and Path(word).suffix]
        if named and "required: VIDEO" in str(error):
            message = f"{error}{_explain_dash(named[0])}"
            raise MoclipError(message) from None
        raise
    takes_videos = hasattr(options, "videos")
    place = more.index("--") if "--" in more else len(more)
    before, files = more[:place], more[place + 1 :]
    for word in [word for word in before if word.startswith("-")] if takes_videos else before + files:
        options.parser.refuse(word, takes_videos=takes_videos)
    # argparse takes the first row of files only: those that come after an option are added to it.
    if takes_videos:
        options.videos = [*options.videos, *map(Path, before + files)]
    return options


def build_parser() -> _Parser:
    """Return the parser of every command."""
    parser = _Parser(prog="moclip", description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = "moclip COMMAND [options]"
    parser.add_argument("--version", action="version", version=f"moclip {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog="moclip")
    title = "print the table of results of a dataset"
    summary = add_command(commands, "summary", summary=title, text=_SUMMARY, run=_print_summary)
    summary.add_argument("folder", type=Path, help="folder of the dataset's results, such as results/demo")
    add_draw_command(commands)
    add_figures_command(commands)
    add_cache_commands(commands)
    add_predict_commands(commands)
    add_search_commands(commands)
    add_completion_command(commands)
    return parser


def _print_summary(options: argparse.Namespace) -> None:
    # Imported here: pandas takes a part of a second, which `moclip --help` need not wait for.
    from moclip.evaluation.comparisons import format_comparisons, read_comparisons  # noqa: PLC0415
    from moclip.evaluation.summary import format_summary, read_summary  # noqa: PLC0415

    path = options.folder / "summary.tsv"
    print(format_summary(read_summary(path)))
    comparisons = read_comparisons(options.folder / "comparisons.tsv")
    if comparisons:
        print(f"\n{format_comparisons(comparisons)}")
    print(f"\nwritten: {path}, {options.folder / 'report.html'}")


_COMPLETION_TEXT = """\
examples:
  moclip completion bash > ~/.local/share/bash-completion/completions/moclip
  source <(moclip completion bash)
  autoload -U +X bashcompinit && bashcompinit && source <(moclip completion bash)     # zsh

Completes commands, the options of each and their choices; everything else is a file.
"""

_SCRIPT = """\
# bash completion of moclip
_moclip() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" options=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}} $before" in
{choices}
  esac
  case "$word" in
    -*)
      case "${{COMP_WORDS[1]}}" in
{options}
      esac
      COMPREPLY=($(compgen -W "$options" -- "$word"))
      ;;
  esac
}}
complete -o default -o bashdefault -F _moclip moclip
"""


def add_completion_command(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `completion`, which knows every command that was added before it."""

    def run(_: argparse.Namespace) -> None:
        print(build_script(commands.choices), end="")

    title = "print a script that completes commands and options"
    completion = add_command(commands, "completion", summary=title, text=_COMPLETION_TEXT, run=run)
    completion.add_argument("shell", choices=("bash",), help="bash; zsh reads the same script")


def build_script(parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return a bash script that completes the options of some parsers, by the name of their command."""
    options, choices = list[str](), list[str]()
    for command, parser in parsers.items():
        words = [word for action in parser._actions for word in action.option_strings if word.startswith("--")]
        options.append(f'        {command}) options="{" ".join(words)}" ;;')
        for action in parser._actions:
            if action.choices and action.option_strings:
                match, listed = f'"{command} {action.option_strings[-1]}"', " ".join(map(str, action.choices))
                choices.append(f'    {match}) COMPREPLY=($(compgen -W "{listed}" -- "$word")); return ;;')
    return _SCRIPT.format(commands=" ".join(parsers), options="\n".join(options), choices="\n".join(choices))
