"""An edit of an extractor asks for a decision: raise its version, or refresh its digest here."""

from hashlib import blake2b

import pytest

from moclip import versions
from moclip.code_digest import module_digest

# The modules that the numbers of each extractor come from.
SOURCES = {
    "MOTION_VERSION": (
        "video",
        "video_file",
        "transcode",
        "motion",
        "motion_packing",
        "motion_stream",
        "motion_extraction",
    ),
    "FRAMES_VERSION": ("frames", "frame_choice", "motion_amount", "packet_index", "video_file", "sampling"),
    "APPEARANCE_VERSION": (
        "appearance",
        "appearance_extraction",
        "encoder_spec",
        "overlap",
        "towers",
        "tower_layers",
        "tower_openvino",
    ),
    "TEXT_VERSION": ("appearance", "prompts", "class_embeddings"),
    "MOTION_EMBEDDING_VERSION": (
        "motion",
        "motion_camera",
        "motion_trace",
        "sampling",
        "field_batches",
        "motion_network",
        "motion_loader",
        "motion_folding",
        "motion_openvino",
        "motion_torch",
        "motion_embedding",
        "motion_embedding_extraction",
    ),
}
PINS: dict[str, tuple[int, str]] = {
    "APPEARANCE_VERSION": (2, "95340a733ee82c6e"),
    "FRAMES_VERSION": (3, "a18cffac280b927c"),
    "MOTION_EMBEDDING_VERSION": (2, "6796b32f65826054"),
    "MOTION_VERSION": (3, "a277eb6fcf64711c"),
    "TEXT_VERSION": (1, "1f912fb9136f2d99"),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_source_of_an_extractor_is_that_of_its_version(name: str) -> None:
    digests = [module_digest(f"moclip.{module}") for module in SOURCES[name]]
    found = (getattr(versions, name), blake2b("".join(digests).encode(), digest_size=8).hexdigest())
    assert found == PINS.get(name), (
        f"the source behind {name} changed. If a number that it computes changed, raise {name} in versions.py and "
        f"note it under Cache in CHANGELOG.md; then, in either case, set PINS[{name!r}] to {found}"
    )
