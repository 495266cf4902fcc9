"""An edit of an extractor asks for a decision: raise its version, or refresh its digest here."""

from hashlib import blake2b

import pytest

from moclip import versions
from moclip.core.code_digest import module_digest

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
    "APPEARANCE_VERSION": (2, "988c8590804bc995"),
    "FRAMES_VERSION": (3, "4bf0aa46f5eea89b"),
    "MOTION_EMBEDDING_VERSION": (2, "5afeaddfabc4e3a6"),
    "MOTION_VERSION": (3, "c30f34746b6180e1"),
    "TEXT_VERSION": (1, "2f2f44571387c2f8"),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_source_of_an_extractor_is_that_of_its_version(name: str) -> None:
    digests = [module_digest(f"moclip.{module}") for module in SOURCES[name]]
    found = (getattr(versions, name), blake2b("".join(digests).encode(), digest_size=8).hexdigest())
    assert found == PINS.get(name), (
        f"the source behind {name} changed. If a number that it computes changed, raise {name} in versions.py and "
        f"note it under Cache in CHANGELOG.md; then, in either case, set PINS[{name!r}] to {found}"
    )
