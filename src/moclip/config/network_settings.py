"""Typed settings of a motion network: its field, training and embedding (a part of `config.settings`)."""

import operator
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from moclip.config.section import FilledText, ListOf, NoTruth, Section, Text

Device = Literal["cpu", "cuda", "auto"]

# Defaults of keys that are newer than features and networks in users' caches: without them, their digests stay valid.
_is_crop = partial(operator.eq, "crop")
_is_normal = partial(operator.eq, "normal")


class FieldSettings(Section):
    """The motion field that is built from the vectors."""

    kind: Literal["accumulated", "raw"] = Field(
        "accumulated",
        description="`accumulated` is the displacement since a reference frame. `raw` is the motion of one frame.",
    )
    window: int = Field(
        0,
        ge=0,
        le=1000,
        description="Number of frames from the reference frame of `accumulated` to the current one. 0 starts at the "
        "last keyframe, as CoViAR does.",
    )
    stride: Annotated[Literal[1, 2, 4, 8], NoTruth] = Field(
        1, description="Distance of the sample points of the field in px. 1 samples every pixel."
    )
    compensate_camera: bool = Field(
        False, description="Subtract a robust global fit of each field, the motion of the camera."
    )
    upright: bool = Field(True, description="Rotate the field by the rotation that the file asks players for.")


class Multipliers(Section):
    """Factors on the base learning rate for each part of the network."""

    classifier: float = Field(1, ge=0, le=100, description="Learning rate factor of the classifier.")
    stem: float = Field(0.1, ge=0, le=100, description="Learning rate factor of the stem and the input batch norm.")
    rest: float = Field(0.01, ge=0, le=100, description="Learning rate factor of all other layers.")


class NetworkTraining(Section):
    """The training recipe of a motion network."""

    num_segments: int = Field(3, ge=1, le=64, description="Segments per video in training and validation.")
    epochs: int = Field(200, ge=1, le=1000, description="Passes over the training videos.")
    batch_size: int = Field(80, ge=1, le=1024, description="Videos per step.")
    learning_rate: float = Field(0.01, gt=0, le=1, description="Base learning rate of Adam.")
    multipliers: Multipliers = Field(
        default_factory=Multipliers, description="Factors on the base learning rate for each part of the network."
    )
    adam_epsilon: float = Field(0.001, gt=0, le=1, description="Epsilon of Adam.")
    weight_decay: float = Field(0.0001, ge=0, le=1, description="Weight decay.")
    decay_norm_and_bias: bool = Field(False, description="Apply weight decay to batch norms and biases too.")
    schedule: Literal["steps", "cosine"] = Field(
        "steps", description="`steps` divides the learning rate by 10 at each milestone. `cosine` decays it to zero."
    )
    milestones: ListOf[Annotated[int, Field(ge=1, le=1000)]] = Field(
        (80, 160), description="Epochs at which `steps` divides the learning rate by 10."
    )
    warmup_epochs: int = Field(0, ge=0, le=100, description="Epochs of linear warm-up.")
    scales: ListOf[Annotated[float, Field(gt=0, le=1)]] = Field(
        (1, 0.875, 0.75),
        min_length=1,
        description="Sides of the random crops as fractions of the frame's shorter side.",
    )
    segment_crops: bool = Field(
        False,
        exclude_if=operator.not_,
        description="Draw another place of the crop for each segment, as the authors' code does. `false` crops all "
        "segments of a video at one place.",
    )
    flip: bool = Field(True, description="Mirror half of the samples and negate their horizontal motion.")
    dropout: float = Field(
        0.5, ge=0, le=0.95, description="Dropout before the classifier. The authors' code has none (0)."
    )
    classifier_init: Literal["normal", "linear"] = Field(
        "normal",
        exclude_if=_is_normal,
        description="Initial weights of the classifier. `normal`: normal, standard deviation 0.001, bias 0, as in TSN. "
        "`linear`: the default of torch's `nn.Linear`, as in the authors' code.",
    )
    freeze_norm: bool = Field(
        False, description="Keep the initial statistics of the backbone's batch norms (TSN's partial BN)."
    )
    label_smoothing: float = Field(0, ge=0, le=0.5, description="Label smoothing.")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="`bf16` trains with autocast, which is faster on GPUs and on CPUs with AMX."
    )


class ViewSettings(Section):
    """Augmented views of each training video, stored with its embedding for heads that train on them."""

    count: int = Field(
        0, ge=0, le=64, description="Number of augmented views per training video, for `head.<name>.views`."
    )
    num_segments: int = Field(
        3, ge=1, le=64, description="Segments per view. Crops and mirroring follow `train.scales` and `train.flip`."
    )


class NetworkEmbedding(Section):
    """How the frozen network embeds videos, of all subsets: segments, crops and number format."""

    num_segments: int = Field(25, ge=1, le=64, description="Segments per video.")
    crops: Annotated[Literal[1, 5], NoTruth] = Field(
        1, description="Crops per segment. 1: the center. 5: the center and the corners."
    )
    flips: bool = Field(False, description="Embed a mirrored copy of each crop too.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Number format of the network.")
    backend: Literal["torch", "openvino"] = Field(
        "torch",
        description="`openvino` is faster on CPUs, gives the same numbers to 1e-5 and needs `make openvino`.",
    )
    store: Literal["float32", "float16"] = Field(
        "float32", description="Number format of stored embeddings and views. `float16` takes half the space."
    )
    views: ViewSettings = Field(default_factory=ViewSettings, description="Augmented views of each training video.")


class MotionNetworkVariant(Section):
    """The network over motion fields, trained as a temporal segment network and then frozen."""

    motion: Text = Field(description="The motion variant whose vectors it reads.")
    field: FieldSettings = Field(default_factory=FieldSettings, description="The motion field built from the vectors.")
    backbone: FilledText = Field(description="A timm model name.")
    weights: FilledText = Field(
        description="Initial weights: `none` (random), `timm:TAG` (pretrained by timm), or the path of a "
        ".safetensors file."
    )
    input_px: int = Field(224, ge=32, le=512, description="Side of the square input in px.")
    geometry: Literal["crop", "squash"] = Field(
        "crop",
        exclude_if=_is_crop,
        description="`crop` takes squares of the field. `squash` takes crops with the aspect ratio of the field and "
        "resizes them to squares, as the authors' code does.",
    )
    max_px: float = Field(20, gt=0, le=200, description="Motion in px at which the 8-bit input saturates.")
    rescale_vectors: bool = Field(
        False,
        description="Scale vectors with the frame when a crop is resized to `input_px`, each component by the ratio of "
        "its axis. `false` keeps them in px of the source, as the authors' code does.",
    )
    train: NetworkTraining = Field(default_factory=NetworkTraining, description="The training recipe.")
    select: Literal["val", "last"] = Field(
        "val", description="`val` keeps the epoch with the best validation top-1. `last` keeps the last epoch."
    )
    embedding: NetworkEmbedding = Field(
        default_factory=NetworkEmbedding, description="How the frozen network embeds videos of all subsets."
    )
    threads: int = Field(
        1,
        ge=1,
        le=64,
        description="CPU threads of training and embedding. Independent of `--cores`, since rounding depends on it.",
    )
    loaders: int = Field(
        1, ge=1, le=64, description="Threads that prepare batches while the network computes. No result depends on it."
    )
    device: Device = Field("cpu", description="Device of the network. `auto` uses a GPU if there is one.")
