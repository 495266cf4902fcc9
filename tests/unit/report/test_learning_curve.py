"""The picture of a training opens by itself and shows what there is."""

import math
from xml.etree import ElementTree

from moclip.report.charts import draw_learning_curve


def draw(*, validated: bool) -> str:
    val = [0.9, 0.7, 0.5] if validated else [math.nan] * 3
    return draw_learning_curve(
        train_loss=[1.0, 0.8, 0.6],
        val_loss=val,
        train_top_1=[0.2, 0.4, 0.6],
        val_top_1=val,
        best_epoch=2,
        title="a < b",
    )


def test_the_curve_is_a_document_of_its_own() -> None:
    root = ElementTree.fromstring(draw(validated=True))  # noqa: S314 (our own text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert {"a < b", "Loss", "Top-1", "100 %"} <= set(texts)
    assert any("epoch 2 kept" in (text or "") for text in texts)
    assert len(list(root.iter(f"{space}polyline"))) == 4


def test_without_validation_only_training_is_drawn() -> None:
    assert draw(validated=False).count("<polyline") == 2
