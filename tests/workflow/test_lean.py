"""A job whose content is cached imports no package that takes longer than its work."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moclip.config.validation import check_config
from moclip.evaluation.evaluate import read_metrics
from tests.contract.test_lean_jobs import HEAVY
from tests.workflow.conftest import REPOSITORY, Project

SAYS = {
    "text": "class embeddings taken from the cache",
    "motion_network": "network taken from the cache",
    "head": "0 heads trained",
    "evaluate": "scores taken from the cache",
}
# What Snakemake hands to a script, as far as the scripts read it.
_JOB = """
import json, runpy, sys
from types import SimpleNamespace
class Files(SimpleNamespace):
    def __getitem__(self, name):
        return getattr(self, name)
    def __getattr__(self, name):
        return ""
    def __iter__(self):
        return iter(vars(self).values())
    def get(self, name, default=""):
        return vars(self).get(name, default)
    def items(self):
        return vars(self).items()
job = json.loads(sys.argv[2])
parts = {name: Files(**job[name]) for name in ("input", "output", "wildcards", "params")}
own = {"config": job["config"], "scriptdir": job["scriptdir"], "log": [job["log"]], "threads": 1, "rule": "a rule"}
snakemake = SimpleNamespace(**parts, **own)
runpy.run_path(sys.argv[1], init_globals={"snakemake": snakemake})
print(json.dumps(sorted(sys.modules)))
"""


def describe_jobs(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the job of each script that takes its results from the cache, in the order of the workflow."""
    results = "results/toy"
    network, run = f"{results}/motion_network/tiny/split-1/seed-0", f"{results}/experiments/fusion/split-1/seed-0"
    embedding = f"{results}/motion_embedding/tiny/split-1/seed-0"
    inputs = {
        "manifest": f"{results}/manifest.tsv",
        "motion": f"{results}/motion/original/index.json",
        "model": f"{network}/model.safetensors",
        "network": f"{network}/model.safetensors",
        "appearance": f"{results}/appearance/clip/index.json",
        "text": f"{results}/text/words/class_embeddings.safetensors",
        "heads": f"{results}/experiments/fusion/split-1/heads.safetensors",
    }
    streams = {**inputs, "motion": f"{embedding}/index.json"}
    files = {name: streams[name] for name in ("motion", "appearance", "text", "network")}
    head = {"methods": config["experiments"]["fusion"]["methods"], "head": config["head"]["mlp"], "shots": 0}
    head |= {"seeds": {"0": files}}
    history = f"{results}/experiments/fusion/split-1/history.tsv"
    names = {"experiment": "fusion", "shard": "0", "split": "1", "seed": "0"}
    evaluated = {"experiment": config["experiments"]["fusion"], "head": config["head"]["mlp"]}
    jobs: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
        "motion_shard": ("original", inputs, {"shard": f"{results}/motion/original/shard-0.h5"}),
        "motion_index": ("original", inputs, {"index": f"{results}/motion/original/index.json"}),
        "appearance_shard": ("clip", {**inputs, "motion": ""}, {"shard": f"{results}/appearance/clip/shard-0.h5"}),
        "appearance_index": ("clip", {**inputs, "motion": ""}, {"index": f"{results}/appearance/clip/index.json"}),
        "text": ("words", inputs, {"classes": inputs["text"]}),
        "motion_network": ("tiny", inputs, {"model": inputs["model"], "history": f"{network}/history.tsv"}),
        "motion_embedding_shard": ("tiny", inputs, {"shard": f"{embedding}/shard-0.h5"}),
        "motion_embedding_index": ("tiny", inputs, {"index": f"{embedding}/index.json"}),
        "head": ("", inputs, {"heads": inputs["heads"], "history": history}),
        "evaluate": ("", streams, {"metrics": f"{run}/metrics.json"}),
    }
    cfg = {"head": json.dumps(head), "evaluate": json.dumps(evaluated)}
    return {
        name: {
            "input": given,
            "output": output,
            "wildcards": {**names, "variant": variant},
            "params": {"cfg": cfg.get(name, ""), "policy": "wrong"},
            "config": config,
            "log": f"logs/{name}.log",
            "scriptdir": str(REPOSITORY),
        }
        for name, (variant, given, output) in jobs.items()
    }


@pytest.mark.workflow
def test_a_job_whose_content_is_cached_imports_no_heavy_package(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    jobs = describe_jobs(check_config(project.config).canonical())
    before = read_metrics(project.results() / "experiments/fusion/split-1/seed-0/metrics.json")
    for name, job in jobs.items():
        script = REPOSITORY / "workflow/scripts" / f"{name}.py"
        command = [sys.executable, "-c", _JOB, str(script), json.dumps(job)]
        for output in job["output"].values():
            (project.folder / output).unlink(missing_ok=True)
        done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
        log = (project.folder / job["log"]).read_text()
        assert done.returncode == 0, done.stderr + log
        heavy = set(json.loads(done.stdout)) & set(HEAVY)
        assert not heavy, f"{name} imports {sorted(heavy)}"
        assert "to compute" not in log
        assert SAYS.get(name, "") in log
    assert read_metrics(project.results() / "experiments/fusion/split-1/seed-0/metrics.json") == before
