"""A result is compared with the digest in the record of its job, and a damaged one is made again by the next run."""

import random
import shutil
from pathlib import Path

import pytest

from moclip.core.digests import seal, stat_version, unseal
from moclip.core.records import check_input, check_recorded, forget, read_record, record_path, renew, store_record
from moclip.core.records import write_record as write
from moclip.errors import MoclipError

NAMES = ("predictions.tsv", "metrics.json")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two outputs of one job and their record, named relative to the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/toy/seed-0")
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(f"the content of {name}")
    write([str(folder / name) for name in NAMES], rule="evaluate", params={"cfg": "1"})
    return folder


def flip_hidden(folder: Path, name: str) -> None:
    """Change the bytes of an output, and write its new times into the record."""
    (folder / name).write_text("other content")
    outputs = [str(folder / name) for name in NAMES]
    record = read_record(outputs)
    assert record is not None
    record["outputs"][str(folder / name)][1:] = stat_version(folder / name)
    store_record(outputs, record)


@pytest.mark.parametrize("name", NAMES)
def test_every_output_of_a_job_is_checked_by_its_record_also_in_a_moved_folder(run: Path, name: str) -> None:
    assert check_recorded(run / name) == run / name
    moved = Path("elsewhere/copy")
    shutil.copytree(run, moved)
    assert check_recorded(moved.resolve() / name) == moved.resolve() / name
    (moved / name).write_text("edited")
    with pytest.raises(MoclipError, match=f"{name}: edited or damaged: .*run the workflow again"):
        check_recorded(moved / name)


def test_a_result_without_a_record_or_without_itself_is_refused(run: Path) -> None:
    (run / "other.tsv").write_text("made by nobody")
    with pytest.raises(MoclipError, match=r"other\.tsv: expected a record of its digest"):
        check_recorded(run / "other.tsv")
    with pytest.raises(MoclipError, match=r"absent\.tsv: no such file"):
        check_recorded(run / "absent.tsv")


def test_a_flipped_byte_anywhere_in_a_record_makes_it_none(run: Path) -> None:
    path = record_path(run / NAMES[0])
    content = path.read_bytes()
    places = random.Random(0).sample(range(len(content)), 40)  # noqa: S311
    for place in places:
        data = bytearray(content)
        data[place] ^= 1
        path.write_bytes(data)
        found = read_record([str(run / NAMES[0])])
        assert found is None or chr(content[place]).isspace(), content[place : place + 20]


def test_a_job_is_stopped_by_a_hidden_flip_and_not_by_a_file_with_new_times(run: Path) -> None:
    check_input(run / NAMES[1])
    (run / NAMES[1]).write_text("made again, and the record is on its way")
    check_input(run / NAMES[1])
    flip_hidden(run, NAMES[1])
    with pytest.raises(MoclipError, match="damaged since it was made; run again") as stopped:
        check_input(run / NAMES[1])
    assert stopped.value.damaged == run / NAMES[1]
    forget(run / NAMES[1])
    assert read_record([str(run / NAMES[0])]) is None


def test_a_renewed_record_has_the_digests_of_all_its_outputs(run: Path) -> None:
    (run / NAMES[1]).write_text("built again")
    renew(run / NAMES[1])
    assert [check_recorded(run / name) for name in NAMES] == [run / name for name in NAMES]


def test_a_sealed_document_comes_back_and_an_edited_one_does_not() -> None:
    document = {"a": [1.5, float("inf")], "b": {"c": None}}
    assert unseal(seal(document)) == document
    for wrong in ({**seal(document), "a": []}, document, {"digest": ""}):
        with pytest.raises(ValueError, match="does not match its digest"):
            unseal(wrong)
