"""Typed settings of a dataset: videos, classes, groups, splits and limits (a part of `config.settings`)."""

import operator
from typing import Annotated, Literal

from pydantic import Field

from moclip.config.section import Distinct, FilledText, GroupRule, Section, Text, VariantName

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Layout = Literal["ucf101", "hmdb51", "folders", "table"]


class DecodingLimits(Section):
    """Limits on decoding one video. A video beyond them is rejected, and tried again when its shard is next built."""

    seconds: float = Field(1800, ge=1, le=1e6, description="Wall time of decoding one video, in s.")
    memory_mb: int = Field(
        4096,
        ge=128,
        le=10**6,
        description="Memory of the decoding process in MB, of which it needs about 60 to start. Enforced on Linux "
        "only.",
    )


class Folds(Section):
    """Splits of a dataset that brings none."""

    folds: int = Field(
        0,
        ge=0,
        le=100,
        description="Number of folds of cross-validation. Split K tests fold K and trains on the others; whole groups "
        "are assigned, and the videos of each class are spread evenly. 0 draws one test set of `test_fraction`.",
    )
    seed: Seed = Field(0, description="Seed of the assignment of groups to folds.")


class NearDuplicates(Section):
    """Near-duplicates: videos so similar in their cached features that they may show one scene."""

    keep_together: bool = Field(
        False,
        description="Join the groups of near-duplicates before drawing splits, so that they share a subset. `false` "
        "reports them on the data card only.",
    )
    similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Smallest similarity of appearance of near-duplicates: the cosine of their mean embeddings, from "
        "which the mean of all videos is subtracted.",
    )
    motion_similarity: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Smallest similarity of motion of near-duplicates: the cosine of how their motion changes over "
        "time. Videos are near-duplicates by appearance or by motion.",
    )


class Dataset(Section):
    """The videos, their classes and their splits."""

    name: VariantName = Field(description="Name of the folder below `results/`.")
    generate: Literal["none", "demo", "order"] = Field(
        "none",
        description="`demo` and `order` first render videos into `root`. `demo`: a class is an object and a motion. "
        "`order`: a class is an order of events, and all classes show the same frames. `none` uses the videos that "
        "exist.",
    )
    layout: Layout = Field(
        description="Layout of videos, classes and splits. `ucf101`: `lists` is the folder ucfTrainTestlist. "
        "`hmdb51`: `lists` is the folder of `<class>_test_split<N>.txt` files. `folders`: one folder per class below "
        "`root`. `table`: `lists` is a CSV or TSV file with the columns video, class and optionally group, split."
    )
    root: FilledText = Field(
        description="Folder that contains all videos. Absolute, or relative to the working directory."
    )
    lists: Text = Field("", description="Folder or file of lists, depending on `layout`. Not used with `folders`.")
    classes: Distinct[Text] = Field(
        (), description="Classes to use, in the order of the class file. An empty list uses all classes."
    )
    groups: GroupRule = Field(
        "",
        exclude_if=operator.not_,
        description="Groups of videos that share a source, which never end up in different subsets. A regular "
        "expression found in the video's path below `root`, without suffix: its first part in parentheses names the "
        "group, as in `(scene\\d+)_`. Or `folder:1` for the first folder of the path, `folder:2` for the first two. "
        "Empty uses the groups of the layout: UCF101 and HMDB51 file names, or the column `group` of a table. Every "
        "other video is a group alone.",
    )
    near_duplicates: NearDuplicates = Field(
        default_factory=NearDuplicates,
        exclude_if=lambda value: value == NearDuplicates(),
        description="Near-duplicates, found from cached features.",
    )
    validation_fraction: float = Field(
        0.2, ge=0, le=0.5, description="Fraction of the training videos held out for validation, in whole groups."
    )
    validation_seed: Seed = Field(0, description="Seed of the choice of validation groups.")
    test_fraction: float = Field(
        0.3,
        ge=0.05,
        le=0.5,
        description="Fraction of the videos used for test, in whole groups, if `lists` has no splits.",
    )
    splits: Folds = Field(
        default_factory=Folds,
        exclude_if=lambda value: value == Folds(),
        description="Splits of a dataset whose layout brings none.",
    )
    num_shards: int = Field(
        8,
        ge=1,
        le=10_000,
        description="Number of files per feature set and of jobs per feature stage. About 200 videos per shard work "
        "well.",
    )
    fingerprint: Literal["content", "stat"] = Field(
        "content",
        description="How changed videos are detected. `content`: by a digest of their bytes. `stat`: by path, size "
        "and modification time, which reads no video but counts a touched or renamed one as new.",
    )
    on_bad_video: Literal["skip", "fail"] = Field(
        "skip",
        description="`skip` lists an unreadable video in rejects.tsv and continues. `fail` stops with the reason.",
    )
    limits: DecodingLimits = Field(default_factory=DecodingLimits, description="Limits on decoding one video.")
    rejected_test_videos: Literal["wrong", "leave_out"] = Field(
        "wrong",
        description="`wrong` counts a rejected test video as misclassified. `leave_out` excludes it from the "
        "metrics. The coverage is reported in both cases.",
    )
