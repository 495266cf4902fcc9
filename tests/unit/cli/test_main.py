"""The words of a command line: versions, mistyped words, and names of files that look like options."""

import subprocess
import sys
from pathlib import Path

import pytest

from moclip import __version__
from moclip.cli.main import main, parse_arguments
from moclip.errors import MoclipError

DRAW = ["draw", "--output", "page.html"]


def test_the_package_runs_as_a_module_and_names_its_version() -> None:
    command = [sys.executable, "-m", "moclip", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"moclip {__version__}\n"


def test_an_error_of_the_module_is_one_line_with_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "moclip", "summary", "absent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: absent")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predic", "run", "a.mp4"], "found 'predic'; did you mean predict?; see `moclip --help`"),
        (["--versoin"], "moclip: unknown option --versoin; did you mean --version?; see"),
        (["nonsense"], "found 'nonsense'; see `moclip --help`"),
        ([*DRAW, "a.mp4", "--sorce", "auto"], "moclip draw: unknown option --sorce; did you mean --source?"),
        ([*DRAW, "a.mp4", "--windw=3"], "unknown option --windw=3; did you mean --window?"),
        ([*DRAW, "a.mp4", "--source", "orignal"], "expected one of original, transcode, auto; found 'orignal'"),
        (["summary", "results/demo", "--jsn"], "moclip summary: unknown option --jsn; see `moclip summary --help`"),
        (["summary", "results/demo", "more"], "moclip summary: unexpected argument more"),
        (["summary", "results/demo", "--", "more"], "moclip summary: unexpected argument more"),
        (["cache", "--remove"], "moclip cache: unknown option --remove; did you mean --remove-unused?"),
        (["verify", "--fxi"], "moclip verify: unknown option --fxi; did you mean --fix?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistyped_word_is_refused_with_the_nearest_known_one(arguments: list[str], expected: str) -> None:
    with pytest.raises(MoclipError) as refused:
        parse_arguments(arguments)
    assert expected in str(refused.value)


@pytest.mark.parametrize("command", [DRAW, ["predict", "run"], ["classify", "results/demo", "--classes", "a, b"]])
def test_a_video_that_begins_with_a_dash_is_refused_with_both_ways_to_name_it(command: list[str]) -> None:
    with pytest.raises(
        MoclipError, match=r"unknown option -v\.mp4; for a file of this name write \./-v\.mp4, or put -- "
    ):
        parse_arguments([*command, "a.mp4", "-v.mp4"])
    for way in (["a.mp4", "./-v.mp4"], ["--", "a.mp4", "-v.mp4"]):
        assert [path.name for path in parse_arguments([*command, *way]).videos] == ["a.mp4", "-v.mp4"]


def test_a_single_video_that_begins_with_a_dash_is_explained_too() -> None:
    with pytest.raises(MoclipError, match=r"required: VIDEO.*write \./-v\.mp4, or put -- in front"):
        parse_arguments([*DRAW, "-v.mp4"])
    with pytest.raises(MoclipError, match=r"required: VIDEO; see `moclip draw --help`$"):
        parse_arguments(DRAW)


def test_an_existing_file_named_like_an_option_is_taken_for_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("--sorce").touch()
    with pytest.raises(MoclipError, match=r"write \./--sorce"):
        parse_arguments([*DRAW, "a.mp4", "--sorce"])


def test_videos_before_and_after_options_are_one_list() -> None:
    options = parse_arguments(["predict", "run", "a.mp4", "--top", "2", "b.mp4", "--tsv", "c.mp4", "--", "-d.mp4"])
    assert list(map(str, options.videos)) == ["a.mp4", "b.mp4", "c.mp4", "-d.mp4"]


def test_an_unknown_command_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["sumary", "results/demo"])
    assert stopped.value.code == 2
    assert "did you mean summary?" in capsys.readouterr().err


def test_a_wrong_folder_of_results_is_told_with_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "mine"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "summary.tsv").touch()
    for command in (["summary"], ["figures"]):
        with pytest.raises(SystemExit):
            main([*command, "results/dmeo"])
        line = capsys.readouterr().err
        assert "found no such file; name the results of a dataset, such as results/demo, or run the workflow" in line
        assert "delete" not in line
