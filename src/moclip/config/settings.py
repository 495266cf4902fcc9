"""Typed settings: one frozen model per section, with the meaning, range and default of every key.

Models hold declarations and no logic. `python tools/write_config_manual.py` generates the JSON schema and
`config/README.md` from them. A value reaches a job through its params and keys, so the digest of code leaves the
declarations out (`core.code_digest`).
"""

import operator
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from moclip.config.dataset_settings import Dataset, Seed
from moclip.config.head_kinds import HEAD_KINDS
from moclip.config.network_settings import Device, MotionNetworkVariant
from moclip.config.section import (
    Distinct,
    ExpandedName,
    FilledText,
    ListOf,
    MatrixValue,
    Section,
    Text,
    VariantName,
)

FramePolicy = Literal["middle", "uniform", "random", "keyframes", "motion", "change"]
HeadKindName = Literal["mlp", "linear", "knn", "gated", "attention", "temporal", "ridge", "gda"]
MethodName = Literal[
    "fusion",
    "ridge",
    "appearance",
    "appearance_ridge",
    "shuffled_frames",
    "motion_head",
    "shuffled_motion",
    "motion",
    "score_fusion",
    "zero_shot",
    "zero_shot_head",
]
MatrixKey = Literal[
    "appearance",
    "motion_network",
    "text",
    "head",
    "methods",
    "shots",
    "head.kind",
    "head.hidden",
    "head.dropout",
    "head.learning_rate",
    "head.weight_decay",
    "head.batch_size",
    "head.epochs",
    "head.normalise",
    "head.pooling",
    "head.views",
    "head.select",
    "head.refit",
    "head.form",
    "head.layers",
    "head.width",
]


class MotionVariant(Section):
    """The source of motion vectors."""

    source: Literal["original", "transcode", "auto"] = Field(
        "original",
        description="`original` reads the vectors in the file. `transcode` re-encodes the frames in memory as CoViAR "
        "does (MPEG-4 part 2, 340x256 px, GOP 12, no B-frames) and reads those vectors. `auto` reads the original "
        "vectors if the codec exports them, and transcodes otherwise.",
    )


class FrameSettings(Section):
    """The frames of a video that are embedded."""

    policy: FramePolicy = Field(
        "middle",
        description="`middle`: the middle frame. `uniform`: the centers of `count` equal segments. `random`: `count` "
        "frames, seeded by the video id. `keyframes`: up to `count` keyframes, evenly spaced. `motion`: the frame "
        "with the most motion in each of `count` segments, by the vectors of the variant's `motion`. `change`: the "
        "frame in each segment that differs most from the one before it, which decodes the whole video.",
    )
    count: int = Field(1, ge=1, le=256, description="Number of frames per video. `middle` always takes 1.")


class AppearanceVariant(Section):
    """A frozen open_clip image encoder and the frames it embeds."""

    model: FilledText = Field(
        description="An open_clip model name, or `local-dir:PATH`, a folder with open_clip_config.json and weights."
    )
    weights: Text = Field(
        "", description="An open_clip pretrained tag or the path of a checkpoint. Empty with `local-dir:`."
    )
    preprocess: Text = Field(
        "",
        description="For weights in a file: the pretrained tag of the model whose mean, standard deviation, "
        "interpolation and resize mode the weights expect. Empty reads them from the open_clip_config.json in the "
        "folder of the file, or takes those of all tags if they agree.",
    )
    untrained: bool = Field(
        False, description="`true` runs a model with random weights on purpose. Reports mark it as untrained."
    )
    frames: FrameSettings = Field(default_factory=FrameSettings, description="The frames to embed.")
    motion: Text = Field(
        "", description="The motion variant that `frames.policy: motion` uses. Empty for other policies."
    )
    batch_size: int = Field(
        16,
        ge=1,
        le=4096,
        description="Images per forward pass. Part of the cache key, since rounding depends on the batch size.",
    )
    device: Device = Field("cpu", description="Device of the encoder. `auto` uses a GPU if there is one.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="Number format of the encoder. `bf16` is faster on GPUs and on CPUs with matrix units. `fp16` "
        "needs a GPU.",
    )
    backend: Literal["torch", "eager", "openvino"] = Field(
        "torch",
        description="`torch` optimizes open_clip's layers for the device; results differ in the last bits only. "
        "`eager` runs them unchanged. `openvino` compiles the encoder for a CPU and needs `make openvino`. Each "
        "backend is checked against open_clip when it starts; see docs/appearance.md.",
    )
    threads: int = Field(
        1,
        ge=1,
        le=64,
        description="CPU threads of the encoder. Part of the cache key, since rounding depends on the number of "
        "threads.",
    )


class TextVariant(Section):
    """The prompts of every class and the encoder that embeds them, for zero-shot classification."""

    appearance: Text = Field(description="The appearance variant whose model embeds the prompts.")
    templates: FilledText = Field(
        description="YAML or JSON file with the key `templates`, a list of sentences with one `{}` each."
    )
    phrases: FilledText = Field(
        description="YAML or JSON file that maps each class name to a list of phrases. `from_class_names` derives "
        "them from the class names."
    )


class HeadVariant(Section):
    """A head, trained on cached features."""

    kind: HeadKindName = Field(
        "mlp",
        description="`mlp`: the paper's head. `linear`: a linear probe. `knn`: nearest neighbors by cosine similarity. "
        "`gated`: a sum of streams with learned gates. `attention`: the MLP over frames pooled with a learned "
        "query. `temporal`: the MLP on the mean of the frames and a summary of their sequence. `ridge` and `gda`: "
        "ridge regression and Gaussian discriminant analysis, in closed form.",
    )
    hidden: int = Field(512, ge=1, le=65_536, description="Number of hidden units.")
    dropout: float = Field(0.5, ge=0, le=0.95, description="Dropout after the hidden layer.")
    learning_rate: float = Field(0.0001, gt=0, le=1, description="Learning rate of AdamW.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Weight decay of AdamW.")
    batch_size: int = Field(64, ge=1, le=65_536, description="Videos per step.")
    epochs: int = Field(100, ge=1, le=10_000, description="Passes over the training videos.")
    normalise: Literal["none", "l2", "layer"] = Field(
        "none",
        description="Normalization of each stream. `none`: as in the paper. `l2`: to unit length. `layer`: to mean 0 "
        "and variance 1.",
    )
    pooling: Literal["mean", "first", "concat"] = Field(
        "mean",
        description="Pooling of a video's frames. `mean`: their mean. `first`: the first frame. `concat`: all "
        "frames, padded with zeros. The kind `attention` pools frames itself and needs `mean` here.",
    )
    views: bool = Field(
        False,
        description="Draw another augmented view of each training video's motion in every epoch, from those stored "
        "by `motion_network.<name>.embedding.views`.",
    )
    select: Literal["val", "last"] = Field(
        "val", description="`val` keeps the epoch with the best validation top-1. `last` keeps the last epoch."
    )
    refit: bool = Field(
        False,
        description="Train again on train and val together, for the number of epochs chosen on val. Heads of two "
        "experiments are compared only if they have the same `refit`.",
    )
    neighbours: Distinct[Annotated[int, Field(ge=1, le=1000)]] = Field(
        (1, 5, 10, 20), min_length=1, description="Numbers of neighbors for `knn`, from which validation chooses."
    )
    form: Literal["conv", "transformer"] = Field(
        "conv",
        description="Network of `temporal`. `conv`: convolutions over time. `transformer`: attention with a class "
        "token.",
    )
    layers: int = Field(2, ge=1, le=8, description="Layers of the network of `temporal`.")
    width: int = Field(64, ge=32, le=4096, multiple_of=32, description="Width of the network of `temporal`.")

    @model_serializer(mode="wrap")
    def _drop_keys_of_other_kinds(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A key that another kind alone reads is in no param and in no cache key of this one.
        written: dict[str, Any] = serialize(self)
        others = {key for kind in HEAD_KINDS.values() for key in kind.options} - HEAD_KINDS[self.kind].options.keys()
        return {key: value for key, value in written.items() if key not in others}


class Experiment(Section):
    """A combination of variants, trained and tested on each split with each seed."""

    appearance: Text = Field("", exclude_if=operator.not_, description="The appearance variant.")
    motion_network: Text = Field("", exclude_if=operator.not_, description="The motion network variant.")
    text: Text = Field("", exclude_if=operator.not_, description="The text variant, for zero-shot classification.")
    head: Text = Field("", exclude_if=operator.not_, description="The head variant.")
    methods: Distinct[MethodName] = Field(
        ("fusion", "ridge", "appearance", "appearance_ridge", "motion", "zero_shot"),
        min_length=1,
        description="Methods to report. `fusion`: the head on both embeddings. `appearance`, `motion_head`: the same "
        "head on one of them. `ridge`, `appearance_ridge`: ridge regression on the embeddings of `fusion` and of "
        "`appearance`, fitted on the same videos, as a baseline without epochs, learning rate or seed. "
        "`shuffled_motion`: `fusion` with the motion of other videos, as a control. `shuffled_frames`: "
        "`appearance` with the frames of each video in random order, the control of a head that sees order. "
        "`motion`: the logits of the motion network. `score_fusion`: a weighted mean of the scores of "
        "`appearance` and `motion`. `zero_shot`: the class prompts. `zero_shot_head`: weights between the prompts "
        "and a linear head initialized from them. Weights are chosen on val.",
    )
    shots: int = Field(
        0,
        ge=0,
        le=1000,
        description="Training and validation videos per class, from as many groups as possible. 0 uses all. The "
        "motion network is trained on all training videos.",
    )
    matrix: dict[MatrixKey, Annotated[ListOf[MatrixValue], Field(min_length=1)]] = Field(
        default_factory=dict,
        min_length=1,
        exclude_if=operator.not_,
        description="Lists of values by key: keys of an experiment, or `head.` and a key of its head. Each "
        "combination becomes one experiment, named after its values.",
    )
    splits: Distinct[Annotated[int, Field(ge=1, le=100)]] = Field(
        (1,),
        min_length=1,
        description="Numbers of splits: those of the lists, or of folds. All folds if the key is absent and "
        "`dataset.splits.folds` is set.",
    )
    seeds: Distinct[Seed] = Field((0, 1, 2), min_length=1, description="Random seeds of training.")


class Report(Section):
    """Videos shown in the report."""

    pictures: int = Field(
        12,
        ge=0,
        le=100,
        description="Training videos on the motion page of each motion network, one of each class first. 0 writes no "
        "page.",
    )
    picture_frames: int = Field(
        2, ge=1, le=20, description="Frames shown of each of these videos, among those with motion."
    )
    mistakes: int = Field(
        24,
        ge=0,
        le=200,
        description="Misclassified test videos of the first experiment to show with a picture of about 40 KB each, "
        "up to 7 MB in total. 0 shows none.",
    )


class Settings(Section):
    """The whole configuration, checked and complete."""

    dataset: Dataset = Field(description="The videos, their classes and their splits.")
    cache_dir: FilledText = Field(
        "results/.cache",
        description="Folder of the row cache. Runs, users and checkouts may share it. Absolute, or relative to the "
        "working directory.",
    )
    motion: dict[VariantName, MotionVariant] = Field(description="Motion variants, by name.")
    appearance: dict[VariantName, AppearanceVariant] = Field(description="Appearance variants, by name.")
    text: dict[VariantName, TextVariant] = Field(
        default_factory=dict, description="Text variants (class embeddings for zero-shot classification), by name."
    )
    motion_network: dict[VariantName, MotionNetworkVariant] = Field(description="Motion network variants, by name.")
    head: dict[ExpandedName, HeadVariant] = Field(description="Head variants, by name.")
    experiments: dict[ExpandedName, Experiment] = Field(
        min_length=1, description="Experiments, by name. Others are compared with the first one."
    )
    report: Report = Field(default_factory=Report, description="Videos shown in the report.")


# Keys that had another name once; they are refused with the present one.
RENAMED: dict[tuple[type[Section], str], str] = {(MotionNetworkVariant, "test"): "embedding"}
