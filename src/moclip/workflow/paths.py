"""Paths of all results: the only place that spells them."""

from collections.abc import Mapping
from dataclasses import dataclass

# Outputs of each rule, by name, below the folder of a dataset's results.
_OUTPUTS: Mapping[str, Mapping[str, str]] = {
    "manifest": {"manifest": "manifest.tsv"},
    "motion_shard": {"shard": "motion/{variant}/shard-{shard}.h5"},
    "motion_index": {"index": "motion/{variant}/index.json"},
    "appearance_shard": {"shard": "appearance/{variant}/shard-{shard}.h5"},
    "appearance_index": {"index": "appearance/{variant}/index.json"},
    "text": {"classes": "text/{variant}/class_embeddings.safetensors"},
    "motion_network": {
        "model": "motion_network/{variant}/split-{split}/seed-{seed}/model.safetensors",
        "history": "motion_network/{variant}/split-{split}/seed-{seed}/history.tsv",
    },
    "motion_network_curve": {"curve": "motion_network/{variant}/split-{split}/seed-{seed}/curve.svg"},
    "motion_embedding_shard": {"shard": "motion_embedding/{variant}/split-{split}/seed-{seed}/shard-{shard}.h5"},
    "motion_embedding_index": {"index": "motion_embedding/{variant}/split-{split}/seed-{seed}/index.json"},
    "head": {"index": "heads/{batch}/split-{split}/index.json"},
    "evaluate": {
        "predictions": "experiments/{experiment}/split-{split}/seed-{seed}/predictions.tsv",
        "metrics": "experiments/{experiment}/split-{split}/seed-{seed}/metrics.json",
        "run": "experiments/{experiment}/split-{split}/seed-{seed}/run.yaml",
    },
    "comparisons": {"comparisons": "comparisons.tsv", "gains": "class_gains.tsv"},
    "summary": {"summary": "summary.tsv"},
    "costs": {"costs": "costs.tsv"},
    "rejects": {"rejects": "rejects.tsv"},
    "datacard": {"datacard": "datacard.html"},
    "motion_pictures": {"page": "motion_pictures/{variant}.html"},
    "mistakes": {"mistakes": "mistakes.json"},
    "report": {"report": "report.html"},
}
# The heads of one run, which the job of its batch writes.
_RUN_HEAD: Mapping[str, str] = {
    "head": "experiments/{experiment}/split-{split}/seed-{seed}/head.safetensors",
    "history": "experiments/{experiment}/split-{split}/seed-{seed}/history.tsv",
}
# Folders in which every file belongs to some job.
STAGE_FOLDERS = (
    "motion",
    "appearance",
    "text",
    "motion_network",
    "motion_embedding",
    "heads",
    "experiments",
    "motion_pictures",
)


# A job that embeds motion covers several motion shards, since starting it takes longer than embedding a few videos; but
# never so many that fewer than this many jobs could run at the same time.
_MOTION_SHARDS_PER_JOB, _FEWEST_JOBS = 8, 8


def group_motion_shards(num_shards: int) -> list[tuple[int, ...]]:
    """Return the motion shards behind each shard of motion embeddings.

    >>> group_motion_shards(3)
    [(0,), (1,), (2,)]
    >>> len(group_motion_shards(130))
    17
    """
    count = min(num_shards, max(_FEWEST_JOBS, -(-num_shards // _MOTION_SHARDS_PER_JOB)))
    return [tuple(range(first, num_shards, count)) for first in range(count)]


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Paths of the results, logs and benchmarks of one dataset, relative to the working directory."""

    dataset: str

    @property
    def results(self) -> str:
        """Folder of all results of the dataset."""
        return f"results/{self.dataset}"

    @property
    def logs(self) -> str:
        """Folder of the logs of its jobs."""
        return f"logs/{self.dataset}"

    @property
    def benchmarks(self) -> str:
        """Folder of the run times of its jobs."""
        return f"benchmarks/results/{self.dataset}"

    def outputs(self, rule: str) -> dict[str, str]:
        """Return the outputs of a rule by name, as patterns with the rule's wildcards."""
        return {name: f"{self.results}/{pattern}" for name, pattern in _OUTPUTS[rule].items()}

    def run_head(self, experiment: str, split: int | str, seed: int | str) -> dict[str, str]:
        """Return the files of the heads of one run: `head` and `history`."""
        values = {"experiment": experiment, "split": split, "seed": seed}
        return {name: f"{self.results}/{pattern.format(**values)}" for name, pattern in _RUN_HEAD.items()}
