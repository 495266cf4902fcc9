"""An edit of an extractor asks for a decision: raise its version, or refresh its digest here."""

import pytest

from moclip import versions
from moclip.core.code_digest import definitions_digest

# The modules that the numbers of each extractor come from.
SOURCES = {
    "MOTION_VERSION": (
        "extraction.motion",
        "motion.collector",
        "motion.packing",
        "motion.vectors",
        "video.container",
        "video.motion_vectors",
        "video.transcode",
    ),
    "FRAMES_VERSION": ("extraction.frame_choice", "video.container", "video.frames", "video.packets", "video.sampling"),
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
    "APPEARANCE_VERSION": (2, "abc90d9992d2c5a8"),
    "FRAMES_VERSION": (3, "2c533d6e977a62f2"),
    "MOTION_EMBEDDING_VERSION": (2, "549a1381e41a468a"),
    "MOTION_VERSION": (3, "5d25775f4c915b3e"),
    "TEXT_VERSION": (1, "b7ff99f21f00271a"),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_source_of_an_extractor_is_that_of_its_version(name: str) -> None:
    found = (getattr(versions, name), definitions_digest(f"moclip.{module}" for module in SOURCES[name]))
    assert found == PINS.get(name), (
        f"the source behind {name} changed. If a number that it computes changed, raise {name} in versions.py and "
        f"note it under Cache in CHANGELOG.md; then, in either case, set PINS[{name!r}] to {found}"
    )
