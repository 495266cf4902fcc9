"""Explain why pretrained weights cannot be fetched: the hub cannot be reached, or a tokenizer lacks a package."""

from collections.abc import Iterator
from pathlib import Path

# Names of the exceptions of huggingface_hub, its HTTP clients and urllib for a hub that is not reached.
_UNREACHED = frozenset(
    {
        "LocalEntryNotFoundError",
        "OfflineModeIsEnabled",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "ConnectionRefusedError",
        "ReadTimeout",
        "URLError",
        "gaierror",
    }
)


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, is that of a hub that cannot be reached."""
    return any(type(cause).__name__ in _UNREACHED for cause in _list_causes(error))


def find_missing_package(error: BaseException) -> str:
    """Return the name of the package whose absence led to an error, or ""."""
    missing = [cause for cause in _list_causes(error) if isinstance(cause, ModuleNotFoundError)]
    return str(missing[0].name) if missing else ""


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def explain_fetch(what: str, *, code: str, repository: str = "") -> str:
    """Return a line about files that are not here: the command that fetches them elsewhere, and where they belong.

    `code` is the Python code that fetches them, and `repository` their name on the Hugging Face Hub, such as
    `timm/mobilenetv2_100.ra_in1k`, if they come from there.
    """
    if repository:
        from huggingface_hub import constants  # noqa: PLC0415 (needed for this line alone)

        folder = f"models--{repository.replace('/', '--')}"
        place = (
            f"~/.cache/huggingface/hub/{folder} from there to {Path(constants.HF_HUB_CACHE, folder)} on this machine"
        )
    else:
        place = f"~/.cache/clip from there to {Path.home() / '.cache/clip'} on this machine"
    return (
        f"{what} not on this machine, and the hub cannot be reached; on a machine with internet and the same packages "
        f'run `python -c "{code}"`, copy {place}, and run again'
    )
