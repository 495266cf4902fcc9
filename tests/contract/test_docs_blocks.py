"""Every command in the documentation is run by `tests/workflow/test_docs.py`, or marked as not run with a reason."""

import re
from collections.abc import Iterator, Sequence

import pytest

from tests.docs import PAGES, REPOSITORY, RUN_LANGUAGES, Block, list_blocks, read_blocks

LANGUAGES = {*RUN_LANGUAGES, "yaml", "text", "mermaid"}
COMMAND = re.compile(
    r"^\s*(\$ |\.venv/bin/|(moclip|snakemake|make|python3?|pip|conda|git|sbatch|bash)( |$)|from moclip|import )"
)


def list_faults(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        if block.language not in LANGUAGES:
            found = block.language or "none"
            yield f"{block}: expected one of the languages {', '.join(sorted(LANGUAGES))}, found {found}"
        elif block.not_run == "":
            yield f"{block}: expected a reason in `<!-- not run: REASON -->`"
        elif block.not_run is not None and block.language not in RUN_LANGUAGES:
            yield f"{block}: a block of {block.language} is never run; remove its mark"
        elif block.language == "text" and any(COMMAND.match(line) for line in block.text.splitlines()):
            yield f"{block}: it holds a command; put that in a block of sh or python"


def test_every_block_of_commands_is_run_or_marked() -> None:
    assert list(list_faults(read_blocks())) == []


def test_every_mark_is_in_the_line_above_a_block() -> None:
    marks = sum((REPOSITORY / page).read_text(encoding="utf-8").count("<!-- not run") for page in PAGES)
    assert marks == sum(block.not_run is not None for block in read_blocks())


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```\nmoclip summary results/demo\n```\n", "found none"),
        ("<!-- not run: -->\n```sh\nmake demo\n```\n", "expected a reason"),
        ("<!-- not run: output -->\n```text\nfine\n```\n", "remove its mark"),
        ("```text\n$ moclip explain x\nx: fresh\n```\n", "holds a command"),
        ("```text\n.venv/bin/snakemake -n\n```\n", "holds a command"),
        ("```sh\nmoclip summary results/demo\n```\n<!-- not run: needs Slurm -->\n```sh\nsbatch x\n```\n", None),
    ],
)
def test_a_block_that_is_neither_is_reported(page: str, fault: str | None) -> None:
    blocks = list(list_blocks("page.md", page))
    assert [fault in found for found in list_faults(blocks) if fault] == ([True] if fault else [])
    assert len([block for block in blocks if block.is_run]) == (0 if fault else 1)
