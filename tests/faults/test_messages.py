"""What a person reads: one line and exit code 2 for their fault, one line and a file with the traceback for ours."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from moclip.cli import main as cli
from moclip.errors import MoclipError, explain_system_fault

SOURCE = Path(__file__).resolve().parents[2] / "src/moclip"
FAMILY = {"MoclipError", "ConfigError", "DatasetError", "ModelError", "ShardError"}
# What tells where, what was expected or found, or what to do.
PARTS = re.compile(
    r"expect|found|run |delete|build |name |give |set |see |correct|remove|rename|choose|take |train|install|drop|"
    r"wait|use |make |mend |no such|is missing|needs|move|shorten|lower|raise|export|mount|free |add |"
    r"nearest|known keys|there are|ids are|follows from|no prediction|fault|known_tags|near\}|reason"
)


def list_messages() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = getattr(node.exc.func, "id", "")
                if name in FAMILY and node.exc.args and isinstance(node.exc.args[0], ast.Constant | ast.JoinedStr):
                    yield f"{path.name}:{node.lineno}", ast.unparse(node.exc.args[0])


def test_every_message_says_what_was_expected_or_what_to_do_and_names_a_place_or_a_value() -> None:
    messages = dict(list_messages())
    assert len(messages) > 100
    mute = {
        place: text
        for place, text in messages.items()
        if text.startswith(("'", '"', "f'", 'f"')) and not (PARTS.search(text) and ("{" in text or ":" in text))
    }
    assert not mute


def test_no_message_breaks_its_line_or_commands_the_terminal() -> None:
    line = str(MoclipError("clip\x1b[2J\u202egpj.mp4: cannot read\nthis\r\x85!"))
    assert line.isprintable()
    assert line == r"clip\x1b[2J\u202egpj.mp4: cannot read this\r\x85!"


def test_a_fault_of_ours_is_one_line_and_its_traceback_lies_in_the_named_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "_print_summary", lambda options: options.folder.parts[9])
    with pytest.raises(SystemExit) as stopped:
        cli.main(["summary", "results/none"])
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    log = re.search(r"internal error: IndexError: .*; traceback in (\S+\.log);", told)
    assert log
    assert "Traceback (most recent call last)" in Path(log[1]).read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary", "absent"],
        ["predict", "absent", "video.mp4"],
        ["search", "absent", "words"],
        ["draw", "absent.mp4", "--output", "page.html"],
        ["export", "absent", "bundle"],
        ["unknown"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_tells_a_fault_of_the_user_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert told.startswith("error: ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/disk/a"), "/disk/a: the disk is full; free some space"),
        (PermissionError(13, "Permission denied", "/disk/a"), "/disk/a: permission denied; see who owns it"),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), "the disk is full"),
        (RuntimeError("Unable to flush file: errno = 122"), "quota"),
    ],
)
def test_a_fault_of_the_machine_is_told_in_plain_words(error: Exception, words: str) -> None:
    assert words in str(explain_system_fault(error))


@pytest.mark.parametrize("error", [ValueError("28"), KeyError("disk"), RuntimeError("shapes differ"), OSError("odd")])
def test_a_fault_of_ours_is_not_taken_for_one_of_the_machine(error: Exception) -> None:
    assert explain_system_fault(error) is None
