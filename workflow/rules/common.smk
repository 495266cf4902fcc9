# What the rules share: the checked configuration, names of files, the three params of every rule, and the gates.
import json
import sys
from hashlib import blake2b
from pathlib import Path

import yaml

from moclip.code_digest import code_digest
from moclip.config import check_config, list_network_runs, list_runs, list_used
from moclip.errors import MoclipError
from moclip.features import read_index
from moclip.manifest import check_dataset, dataset_signature, read_manifest


container: None


def checked_config():
    schema = yaml.safe_load(Path(workflow.source_path("../schemas/config.schema.yaml")).read_text())
    try:
        checked = check_config(config, schema=schema)
        if checked["dataset"]["generate"] == "none":
            check_dataset(checked["dataset"])
    except MoclipError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    return checked


CONFIG = checked_config()
DATASET = CONFIG["dataset"]
RESULTS = f"results/{DATASET['name']}"
LOGS = f"logs/{DATASET['name']}"
BENCHMARKS = f"benchmarks/results/{DATASET['name']}"
SHARDS = list(range(DATASET["num_shards"]))
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"


wildcard_constraints:
    variant="[A-Za-z0-9][A-Za-z0-9_-]*",
    experiment="[A-Za-z0-9][A-Za-z0-9_-]*",
    shard=r"\d+",
    split=r"\d+",
    seed=r"\d+",


# The three params. Snakemake compares them as a set of texts, so each is one text that cannot be mistaken for another.
def cfg(section, variant=None, **others):
    """The part of the configuration that a stage reads, as sorted JSON."""
    part = CONFIG[section] if variant is None else CONFIG[section][variant]
    return json.dumps({section: part, **others}, sort_keys=True)


def code(rule_name):
    """The digest of a rule's script and of the library modules that it reaches."""
    return f"code:{code_digest(SCRIPTS / f'{rule_name}.py')}"


def table_sig(columns, where=None):
    """The digest of some columns of the manifest, in the rows that `where` accepts; waits for the manifest."""
    frame = read_manifest(Path(checkpoints.manifest.get().output.manifest))
    rows = frame if where is None else frame[where(frame)]
    return "sig:" + blake2b(rows[columns].to_csv(index=False).encode(), digest_size=16).hexdigest()


def shard_sig(shard):
    """The digest of the videos of one shard."""
    return table_sig(["video_id", "path", "fingerprint"], lambda frame: frame["shard"] == int(shard))


def split_sig(split, subsets):
    """The digest of the labels of some subsets of a split."""
    column = f"split_{split}"
    return table_sig(["video_id", "class_name", "class_index", column], lambda frame: frame[column].isin(subsets))


def content_sig(index, shard):
    """The digest of one shard's content, from the index that the gate wrote."""
    shards = {entry.file: entry.content for entry in read_index(Path(index)).shards}
    return f"sig:{shards[f'shard-{shard}.h5']}"


# Feature sets, each a folder of shards and an index.
MOTION = [f"{RESULTS}/motion/{variant}" for variant in list_used(CONFIG, "motion")]
APPEARANCE = [f"{RESULTS}/appearance/{variant}" for variant in list_used(CONFIG, "appearance")]
NETWORKS = [f"{run.experiment}/split-{run.split}/seed-{run.seed}" for run in list_network_runs(CONFIG)]
EMBEDDINGS = [f"{RESULTS}/motion_embedding/{network}" for network in NETWORKS]
RUNS = [f"{RESULTS}/experiments/{run.experiment}/split-{run.split}/seed-{run.seed}" for run in list_runs(CONFIG)]


def shard_files(folder):
    return [f"{folder}/shard-{shard}.h5" for shard in SHARDS]


def all_features():
    folders = [*MOTION, *APPEARANCE, *EMBEDDINGS]
    return [path for folder in folders for path in [*shard_files(folder), f"{folder}/index.json"]]


def all_networks():
    models = [f"{RESULTS}/motion_network/{network}" for network in NETWORKS]
    return [f"{model}/{name}" for model in models for name in ("model.safetensors", "history.tsv")]


# The gates. An index that comes out the same stops what is below it from running again, but only if everything below,
# and `rule all`, asks for it through its checkpoint.
def motion_index(variant):
    return checkpoints.motion_index.get(variant=variant).output.index


def appearance_index(variant):
    return checkpoints.appearance_index.get(variant=variant).output.index


def motion_embedding_index(variant, split, seed):
    return checkpoints.motion_embedding_index.get(variant=variant, split=split, seed=seed).output.index


def text_file(variant):
    return f"{RESULTS}/text/{variant}/class_embeddings.safetensors"


# What each method of an experiment reads.
READS = {
    "motion": {"fusion", "motion"},
    "appearance": {"fusion", "appearance", "zero_shot"},
    "text": {"zero_shot"},
    "head": {"fusion", "appearance"},
}


def uses(experiment, what):
    return bool(READS[what] & set(CONFIG["experiments"][experiment]["methods"]))


def run_motion(wildcards):
    """The index of the motion embeddings that a run reads."""
    if not uses(wildcards.experiment, "motion"):
        return []
    variant = CONFIG["experiments"][wildcards.experiment]["motion_network"]
    return motion_embedding_index(variant, wildcards.split, wildcards.seed)


def run_appearance(wildcards):
    """The index of the frame embeddings that a run reads."""
    if not uses(wildcards.experiment, "appearance"):
        return []
    return appearance_index(CONFIG["experiments"][wildcards.experiment]["appearance"])


def run_text(wildcards):
    """The class embeddings that a run reads."""
    return text_file(CONFIG["experiments"][wildcards.experiment]["text"]) if uses(wildcards.experiment, "text") else []


def pass_gates():
    """Raise until every index is there, and up to date."""
    checkpoints.manifest.get()
    for variant in list_used(CONFIG, "motion"):
        motion_index(variant)
    for variant in list_used(CONFIG, "appearance"):
        appearance_index(variant)
    for run in list_network_runs(CONFIG):
        motion_embedding_index(run.experiment, run.split, run.seed)


def gated(paths):
    """The paths, once every gate is passed."""
    pass_gates()
    return paths


def gated_results(wildcards):
    texts = [text_file(variant) for variant in list_used(CONFIG, "text")]
    names = ("head.safetensors", "history.tsv", "predictions.tsv", "metrics.json", "run.yaml")
    runs = [f"{run}/{name}" for run in RUNS for name in names]
    tables = [f"{RESULTS}/{name}" for name in ("rejects.tsv", "summary.tsv", "report.html")]
    return gated([*texts, *runs, *tables])


def weight_files(path):
    """The file behind `weights` or `model`, if it is one of this machine, so that replacing it is seen."""
    if path.startswith("local-dir:"):
        folder = Path(path.removeprefix("local-dir:"))
        return sorted(str(file) for file in folder.glob("open_clip_*") if file.is_file())
    return [path] if Path(path).is_file() else []


def encoder_files(variant):
    entry = CONFIG["appearance"][variant]
    return [*weight_files(entry["model"]), *weight_files(entry["weights"])]


def prompt_files(variant):
    entry = CONFIG["text"][variant]
    return [entry[key] for key in ("templates", "phrases") if entry[key] != "from_class_names"]


def training_cfg(variant):
    """What the training of a motion network reads: all of its variant but how it is tested."""
    entry = {key: value for key, value in CONFIG["motion_network"][variant].items() if key != "test"}
    return json.dumps({"motion_network": entry}, sort_keys=True)


def embedding_cfg(variant):
    """What the frozen motion network reads."""
    keys = ("field", "input_px", "max_px", "test", "threads", "device")
    return json.dumps({"motion_network": {key: CONFIG["motion_network"][variant][key] for key in keys}}, sort_keys=True)


def head_cfg(experiment):
    entry = CONFIG["experiments"][experiment]
    head = CONFIG["head"][entry["head"]] if uses(experiment, "head") else {}
    return json.dumps({"head": head, "methods": entry["methods"]}, sort_keys=True)


def run_cfg(experiment):
    """The part of the configuration that a run is made of, every variant resolved."""
    entry = CONFIG["experiments"][experiment]
    parts = ("appearance", "motion_network", "text", "head")
    resolved = {part: CONFIG[part][entry[part]] for part in parts if entry.get(part)}
    return json.dumps({"experiment": entry, **resolved}, sort_keys=True)
