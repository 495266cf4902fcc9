"""Blocks of code in README.md and docs/*.md, and which of them tests run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")))
# Commands and code, which a reader pastes. Blocks of other languages are settings, listings and output.
RUN_LANGUAGES = ("sh", "python")

_MARK = re.compile(r"<!-- not run: *(.*?) *-->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block: its page, line, language and text, and the reason why no test runs it, or None."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def is_run(self) -> bool:
        """Whether a test has to run it."""
        return self.language in RUN_LANGUAGES and self.not_run is None

    def __str__(self) -> str:
        """Return the place of the block."""
        return f"{self.page}:{self.line}"


def list_blocks(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page. A comment `<!-- not run: REASON -->` in the line above marks one that is not run."""
    lines = text.splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = number
            continue
        mark = _MARK.fullmatch(lines[start - 1].strip()) if start else None
        yield Block(
            page=page,
            line=start + 1,
            language=lines[start].strip().removeprefix("```"),
            text="\n".join(lines[start + 1 : number]) + "\n",
            not_run=mark[1] if mark else None,
        )
        start = None


def read_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in PAGES for block in list_blocks(page, (REPOSITORY / page).read_text(encoding="utf-8"))]
