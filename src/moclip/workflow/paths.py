"""Paths of all results: the only place that spells them, and that reads names from them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from moclip.config.experiments import Run

# Outputs of each rule, by name, below the folder of a dataset's results.
_OUTPUTS: Mapping[str, Mapping[str, str]] = {
    # Only where near-duplicates are kept together: the manifest before they are known.
    "videos": {"videos": "videos.tsv"},
    "near_duplicates": {"near_duplicates": "near_duplicates.tsv"},
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
    "head": {
        "heads": "experiments/{experiment}/split-{split}/heads.safetensors",
        "history": "experiments/{experiment}/split-{split}/history.tsv",
    },
    "evaluate": {
        "predictions": "experiments/{experiment}/split-{split}/seed-{seed}/predictions.tsv",
        "metrics": "experiments/{experiment}/split-{split}/seed-{seed}/metrics.json",
        "run": "experiments/{experiment}/split-{split}/seed-{seed}/run.yaml",
    },
    "comparisons": {"comparisons": "comparisons.tsv", "gains": "class_gains.tsv"},
    "summary": {"summary": "summary.tsv"},
    "costs": {"costs": "costs.tsv"},
    "rejects": {"rejects": "rejects.tsv"},
    "datacard": {"datacard": "datacard.html", "card": "datacard.json"},
    "motion_pictures": {"page": "motion_pictures/{variant}.html"},
    "mistakes": {"mistakes": "mistakes.json"},
    "report": {"report": "report.html"},
    # One figure of the report, which the job of the report writes.
    "figure": {"pdf": "figures/{figure}.pdf", "png": "figures/{figure}.png", "numbers": "figures/{figure}.tsv"},
}

# The names of all rules; the demo videos are stored outside the results.
RULES = frozenset({"demo_dataset", *_OUTPUTS})

# Folders in which every file belongs to some job.
STAGE_FOLDERS = frozenset(
    pattern.split("/")[0] for patterns in _OUTPUTS.values() for pattern in patterns.values() if "/" in pattern
)


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


def result_path(results: Path, rule: str, output: str, **wildcards: str | int) -> Path:
    """Return an output of a rule below a folder of results, such as `results/demo`."""
    return results / _OUTPUTS[rule][output].format(**wildcards)


def find_results(results: Path, rule: str, output: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the existing outputs of a rule below a folder of results with their wildcards, sorted by path."""
    pattern = _OUTPUTS[rule][output]
    for path in sorted(results.glob(re.sub(r"{\w+}", "*", pattern))):
        yield path, locate(path, rule, output)[1]


def locate(path: Path, rule: str, output: str) -> tuple[Path, dict[str, str]]:
    """Return the folder of results that holds an output of a rule, and the wildcards in its path.

    >>> locate(Path("results/demo/motion/original/index.json"), "motion_index", "index")
    (PosixPath('results/demo'), {'variant': 'original'})

    Raises:
        ValueError: The path does not belong to this output.
    """
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(_OUTPUTS[rule][output]))
    found = re.fullmatch(rf"(?P<results>.*)/{pattern}", Path(path).as_posix())
    if not found:
        raise ValueError(f"{path}: expected a path like {_OUTPUTS[rule][output]}")
    wildcards = found.groupdict()
    return Path(wildcards.pop("results")), wildcards


def run_of(path: Path, rule: str, output: str) -> Run:
    """Return the run that an output of a rule belongs to; for a motion network `experiment` is its variant."""
    _, found = locate(path, rule, output)
    name = found.get("experiment") or found["variant"]
    return Run(experiment=name, split=int(found["split"]), seed=int(found["seed"]))


def project_of(results: Path) -> Path:
    """Return the folder that the paths of a configuration start from, by a folder `results/<dataset>` in it."""
    return results.resolve().parent.parent
