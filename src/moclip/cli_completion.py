"""The command `moclip completion`: a script that lets a shell complete commands, options and files."""

import argparse
from typing import Any

from moclip.cli_parts import add_command

_TEXT = """\
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
    completion = add_command(commands, "completion", summary="print a script that completes moclip's words", text=_TEXT)
    completion.add_argument("shell", choices=("bash",), help="bash; zsh reads the same script")
    completion.set_defaults(run=lambda _: print(build_script(commands.choices), end=""))


def build_script(parsers: "dict[str, argparse.ArgumentParser] | Any") -> str:
    """Return the script for bash over some parsers by the name of their command."""
    options: list[str] = []
    choices: list[str] = []
    for command, parser in parsers.items():
        words = [word for action in parser._actions for word in action.option_strings if word.startswith("--")]
        options.append(f'        {command}) options="{" ".join(words)}" ;;')
        for action in parser._actions:
            if action.choices and action.option_strings:
                listed = " ".join(map(str, action.choices))
                match = f'"{command} {action.option_strings[-1]}"'
                choices.append(f'    {match}) COMPREPLY=($(compgen -W "{listed}" -- "$word")); return ;;')
    return _SCRIPT.format(commands=" ".join(parsers), options="\n".join(options), choices="\n".join(choices))
