"""Small motion, small networks, and a dataset of both, for the tests of the motion network."""

from pathlib import Path
from typing import Any

import numpy as np

from moclip.cache.format import Row
from moclip.cache.index import write_index
from moclip.config.network_settings import MotionNetworkVariant
from moclip.config.settings import MotionVariant
from moclip.dataset.labels import list_subsets
from moclip.encoders.motion_embedding import MotionItem
from moclip.extraction.extractor import ShardJob, Video, expected_signature, extract_shard, shard_file
from moclip.extraction.motion import build_motion_extractor
from moclip.motion.vectors import NO_VECTOR, MotionVectors
from moclip.training.motion_data import Sample

TRAIN = {
    "num_segments": 2,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 0.01,
    "multipliers": {"classifier": 1.0, "stem": 0.1, "rest": 0.01},
    "adam_epsilon": 1e-3,
    "weight_decay": 1e-4,
    "decay_norm_and_bias": False,
    "schedule": "steps",
    "milestones": [2],
    "warmup_epochs": 0,
    "scales": [1.0, 0.75],
    "flip": False,
    "dropout": 0.5,
    "label_smoothing": 0.0,
    "freeze_norm": False,
    "precision": "fp32",
}
TEST = {
    "num_segments": 3,
    "crops": 1,
    "flips": False,
    "precision": "fp32",
    "backend": "torch",
    "store": "float32",
    "views": {"count": 0, "num_segments": 2},
}


def variant(**changes: Any) -> MotionNetworkVariant:
    base = {
        "motion": "original",
        "field": {"kind": "raw", "window": 0, "stride": 8, "compensate_camera": False, "upright": False},
        "backbone": "test_efficientnet",
        "weights": "none",
        "input_px": 32,
        "max_px": 20,
        "rescale_vectors": False,
        "train": TRAIN,
        "select": "val",
        "embedding": TEST,
        "threads": 1,
        "loaders": 2,
        "device": "cpu",
    }
    return MotionNetworkVariant(**{**base, **changes})


def moving(dx_px: float, dy_px: float, *, num_frames: int = 8, seed: int = 0) -> MotionVectors:
    """Motion of a 64 x 64 video whose content moves by (dx, dy) px a frame, with some noise."""
    rng = np.random.default_rng(seed)
    past = np.round(-4 * np.array([dx_px, dy_px]) + rng.normal(size=(num_frames - 1, 8, 8, 2))).astype(np.int16)
    past[:, 0, 0] = NO_VECTOR
    return MotionVectors(
        past=past,
        past_frame_index=np.arange(1, num_frames, dtype=np.int32),
        future=np.empty((0, 8, 8, 2), np.int16),
        future_frame_index=np.empty(0, np.int32),
        picture_type=np.frombuffer(b"I" + b"P" * (num_frames - 1), np.uint8),
        is_keyframe=np.arange(num_frames) == 0,
        time_seconds=np.arange(num_frames) / 25,
        motion_scale=4,
        width_px=64,
        height_px=64,
        rotation_degrees=0,
        is_mirrored=False,
        codec_name="h264",
        frame_rate=25.0,
        source="original",
    )


def items(*numbers: int) -> list[MotionItem]:
    return [MotionItem(video_id=f"v{n}", key=f"k{n}", motion=moving(n, 0, seed=n)) for n in numbers]


def samples(count: int, *, start: int = 0) -> list[Sample]:
    def sample(number: int) -> Sample:
        dx, dy = ((8, 0), (0, 8))[number % 2]
        return Sample(video_id=f"v{number}", class_index=number % 2, motion=lambda: moving(dx, dy, seed=number))

    return [sample(start + number) for number in range(count)]


def write_dataset(folder: Path, *, num_train: int = 12, num_val: int = 4, num_test: int = 4) -> tuple[Path, Path]:
    """Write a manifest and one motion shard of videos v0, v1 ... that move right or down; return it and the index."""
    subsets = ["train"] * num_train + ["val"] * num_val + ["test"] * num_test
    header = ["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"]
    rows = [[f"v{n}", f"v{n}.avi", f"c{n % 2}", n % 2, f"g{n}", n, 0, subset] for n, subset in enumerate(subsets)]
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.tsv"
    manifest.write_text("".join("\t".join(map(str, cells)) + "\n" for cells in (header, *rows)))
    motions = {sample.video_id: sample.motion for sample in samples(len(subsets))}
    plain = build_motion_extractor(MotionVariant())
    extractor = type(plain)(
        name="motion",
        version=1,
        parameters={},
        fields=plain.fields,
        row_key=lambda video: video.fingerprint,
        extract=lambda videos: (
            Row(video_id=v.video_id, row_key=v.fingerprint, values=vars(motions[v.video_id]())) for v in videos
        ),
        reads_videos=False,
    )
    videos = sorted(
        (Video(video_id=f"v{n}", path=Path(f"v{n}.avi"), fingerprint=str(n)) for n in range(len(subsets))),
        key=lambda video: video.video_id,
    )
    extract_shard(extractor, videos=videos, job=job_of(folder / "motion", cache=folder / "cache"))
    signatures = {shard_file(0): expected_signature(extractor, videos)}
    write_index(folder / "motion/index.json", signatures=signatures, subsets=list_subsets(manifest))
    return manifest, folder / "motion/index.json"


def job_of(folder: Path, *, cache: Path) -> ShardJob:
    return ShardJob(
        dataset="toy", root=Path("unused"), shard=0, num_shards=1, output=folder / shard_file(0), cache_dir=cache
    )
