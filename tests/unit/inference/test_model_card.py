"""What a model card is made of."""

from collections.abc import Sequence
from dataclasses import replace

from moclip.inference.model_card import CardFacts, build_card
from moclip.inference.quality import MeasuredMethod


def card_facts(*, class_names: Sequence[str] = ("Lunges", "JumpingJack"), licence: str = "") -> CardFacts:
    """Return the facts of a run that got 90 of 100 test videos right."""
    tested = MeasuredMethod(
        top_1=0.9, low=0.826, high=0.945, num_groups=25, n=100, ece=0.04, chance_majority=0.6, chance_uniform=0.5
    )
    return CardFacts(
        name="fusion",
        dataset="toy",
        split=1,
        seed=0,
        commit="abc",
        class_names=class_names,
        num_videos={"train": 300, "val": 50, "test": 100},
        tested={"fusion": tested, "motion": replace(tested, low=None, high=None, num_groups=7)},
        calibration={"fusion": "calibrated by temperature 1.20, fitted on 50 val videos"},
        parts=[("head(s)", 1000, 4000)],
        appearance={"model": "ViT-B-32", "weights": "laion2b_s34b_b79k", "frames": {"count": 1, "policy": "middle"}},
        motion_network={
            "weights": "none",
            "backbone": "b0",
            "field": {},
            "embedding": {"num_segments": 8},
            "input_px": 64,
        },
        motion={"source": "original"},
        libraries={"torch": "2"},
        licence=licence,
    )


def test_the_licence_of_weights_is_known_said_or_unknown() -> None:
    assert "`ViT-B-32`: MIT, as LAION" in build_card(card_facts())
    assert "`ViT-B-32`: mine" in build_card(card_facts(licence="mine"))
    facts = card_facts()
    unknown = CardFacts(**{**vars(facts), "appearance": {**facts.appearance, "weights": ""}})
    assert "not stated in the files" in build_card(unknown)
