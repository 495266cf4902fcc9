"""An edit of an extractor asks for a decision: raise its version, or refresh its digest here."""

import pytest

from moclip import versions
from moclip.core.code_digest import definitions_digest

# The modules that the numbers of each extractor come from.
SOURCES = {
    "MOTION_VERSION": (
        "core.orientation",
        "extraction.motion",
        "motion.collector",
        "motion.vectors",
        "video.container",
        "video.motion_vectors",
        "video.protection",
        "video.transcode",
    ),
    "FRAMES_VERSION": (
        "extraction.frame_choice",
        "video.container",
        "video.frames",
        "video.packets",
        "video.protection",
        "video.sampling",
    ),
    "APPEARANCE_VERSION": (
        "core.prefetch",
        "encoders.clip",
        "encoders.fusion",
        "encoders.openvino",
        "encoders.runtime",
        "encoders.spec",
        "extraction.appearance",
    ),
    "TEXT_VERSION": ("encoders.clip", "encoders.prompts", "extraction.text"),
    "MOTION_EMBEDDING_VERSION": (
        "encoders.fusion",
        "encoders.motion_embedding",
        "encoders.motion_input",
        "encoders.motion_network",
        "encoders.openvino",
        "encoders.runtime",
        "extraction.motion_embedding",
        "motion.accumulation",
        "motion.camera",
        "motion.fields",
        "motion.vectors",
        "video.sampling",
    ),
}
PINS: dict[str, tuple[int, str]] = {
    "APPEARANCE_VERSION": (3, "5a0d693d55d992e7"),
    "FRAMES_VERSION": (4, "5dc85cb8ec80fe00"),
    "MOTION_EMBEDDING_VERSION": (3, "e1181d2f7b160430"),
    "MOTION_VERSION": (4, "d5c688e27a179516"),
    "TEXT_VERSION": (2, "c3a9132f849e6e30"),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_source_of_an_extractor_is_that_of_its_version(name: str) -> None:
    found = (getattr(versions, name), definitions_digest(f"moclip.{module}" for module in SOURCES[name]))
    assert found == PINS.get(name), (
        f"the source behind {name} changed. If a number that it computes changed, raise {name} in versions.py and "
        f"note it under Cache in CHANGELOG.md; then, in either case, set PINS[{name!r}] to {found}"
    )
