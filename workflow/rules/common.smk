# What the rules share: the checked configuration, names of files, and the params of every rule.
import json
import math
import os
import re
import sys
from functools import cache
from hashlib import blake2b
from pathlib import Path

import yaml

from moclip.code_digest import script_digests
from moclip.config import check_config, list_network_runs, list_runs, list_used
from moclip.devices import has_gpu
from moclip.errors import MoclipError
from moclip.features import read_index
from moclip.head_index import read_digests
from moclip.manifest import dataset_signature, read_manifest
from moclip.methods import list_heads, reads
from moclip.motion_embedding_extraction import embedding_settings
from moclip.subsets import LEARNED

# Documents the software of every rule; jobs run in the environment that snakemake itself runs in.
ENVIRONMENT = str(Path(workflow.basedir, "environment.yml"))


def checked_config():
    """The configuration, checked, and the digest of the dataset's listing; what is wrong ends the run here."""
    schema = yaml.safe_load(Path(workflow.basedir, "workflow/schemas/config.schema.yaml").read_text())
    try:
        checked = check_config(config, schema=schema)
        made_here = checked["dataset"]["generate"] != "none"
        # A job's own process on a cluster needs no listing of thousands of files; the main process has checked it.
        listed = workflow.is_main_process and not made_here
        return checked, dataset_signature(checked["dataset"]) if listed else None
    except MoclipError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


# Without it cuBLAS may give other bits with each run on a GPU. Jobs inherit it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Scripts read `snakemake.config`: they see the checked configuration, its defaults filled in.
CONFIG, LISTING = checked_config()
config.clear()
config.update(CONFIG)
DATASET = CONFIG["dataset"]
RESULTS = f"results/{DATASET['name']}"
LOGS = f"logs/{DATASET['name']}"
BENCHMARKS = f"benchmarks/results/{DATASET['name']}"
SHARDS = list(range(DATASET["num_shards"]))
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"

# Snakemake 9 ends `--until` at the first checkpoint, the manifest, and calls that success.
if any(argument.split("=")[0] in {"--until", "-U"} for argument in sys.argv):
    print(
        "error: --until: expected the files that are wanted, found a rule or file to stop at, which Snakemake loses at the "
        f"manifest; name them instead, as in `snakemake --cores 2 {RESULTS}/motion/original/index.json`",
        file=sys.stderr,
    )
    sys.exit(2)


wildcard_constraints:
    variant="[A-Za-z0-9][A-Za-z0-9_-]*",
    experiment="[A-Za-z0-9][A-Za-z0-9_.-]*",
    shard=r"\d+",
    split=r"\d+",
    seed=r"\d+",


# The three params. Snakemake compares them as a set of texts, so each is one text that cannot be mistaken for another.
def cfg(section, variant=None, **others):
    """The part of the configuration that a stage reads, as sorted JSON."""
    part = CONFIG[section] if variant is None else CONFIG[section][variant]
    return json.dumps({section: part, **others}, sort_keys=True)


def decode_cfg():
    """What becomes of videos that cannot be decoded, and when that is."""
    return {key: DATASET[key] for key in ("on_bad_video", "limits")}


def code(rule_name):
    """The digest of a rule's script and of the library modules that it reaches, for the process that compares it."""
    if not workflow.is_main_process:  # a job's own process on a cluster, whose start this would double
        return "code:not compared here"
    return f"code:{code_digests()[rule_name]}"


@cache
def code_digests():
    return script_digests(SCRIPTS, memo=Path(CONFIG["cache_dir"], "code"))


# A `sig` is read from a file that a checkpoint writes, and that file is an `ancient` input: its time stamp reruns nothing,
# and when the checkpoint has written it anew, Snakemake evaluates the params of the jobs that depend on it again.
PENDING = "sig:pending"


def sig_of(content):
    return f"sig:{blake2b(content, digest_size=16).hexdigest()}"


# Snakemake removes a file before the job that writes it anew. Params that another job's end evaluates meanwhile would take
# it for one that was never there, and what they mark for another run stays marked: the last state counts until the next.
LAST = {}


@cache
def manifest_of(state):
    LAST[MANIFEST] = state
    return read_manifest(Path(MANIFEST))


def manifest_state():
    """What tells one state of the manifest's file from another, or None before it is there."""
    try:
        status = os.stat(MANIFEST)
    except FileNotFoundError:
        return LAST.get(MANIFEST)
    return status.st_mtime_ns, status.st_size, status.st_ino


def load_manifest():
    """The manifest, read once for each state of its file, or None before it is there."""
    state = manifest_state()
    return None if state is None else manifest_of(state)


def table_sig(columns):
    """The digest of some columns of the manifest."""
    state = manifest_state()
    return PENDING if state is None else whole_sig(state, tuple(columns))


@cache
def whole_sig(state, columns):
    return columns_sig(manifest_of(state), columns)


def columns_sig(frame, columns):
    # Column by column, several times as fast as through a CSV file; no cell of a manifest holds a line break.
    cells = frame.reindex(columns=list(columns)).astype(str)
    return sig_of("\n\n".join("\n".join([name, *cells[name]]) for name in columns).encode())


@cache
def shards_of(state):
    """The digest of each shard's videos, and their number, by shard."""
    frame = manifest_of(state)
    lines = frame["video_id"].str.cat(frame[["path", "fingerprint"]], sep="\t").tolist()
    shards = {}
    for shard, line in zip(frame["shard"].tolist(), lines):
        shards.setdefault(shard, []).append(line)
    return {shard: (sig_of("\n".join(listed).encode()), len(listed)) for shard, listed in shards.items()}


def classes_sig():
    """The digest of the classes and their indices, which another video of a known class leaves as it is."""
    state = manifest_state()
    return PENDING if state is None else classes_of(state)


@cache
def classes_of(state):
    frame = manifest_of(state)
    classes = frame.drop_duplicates(["class_name", "class_index"]).sort_values("class_index")
    return columns_sig(classes, ["class_name", "class_index"])


def manifest_sig():
    """The digest of the whole manifest."""
    path = Path(RESULTS, "manifest.tsv")
    return sig_of(path.read_bytes()) if path.is_file() else PENDING


def shard_sig(shard):
    """The digest of the videos of one shard."""
    state = manifest_state()
    return PENDING if state is None else shards_of(state).get(int(shard), (sig_of(b""), 0))[0]


def features_sig(columns=("video_id", "shard", "fingerprint")):
    """The digest of what an index reads of the manifest: which videos there are, and the subsets that they are in."""
    frame = load_manifest()
    if frame is None:
        return PENDING
    return table_sig([*columns, *(name for name in frame if name.startswith("split_"))])


def split_sig(split, subsets):
    """The digest of the labels of some subsets of a split."""
    state = manifest_state()
    return PENDING if state is None else labels_sig(state, f"split_{split}", tuple(subsets))


@cache
def labels_sig(state, column, subsets):
    frame = manifest_of(state)
    # A split that the manifest lacks is one that the dataset has not: the job that reads it says so.
    if column not in frame:
        return f"sig:no {column}"
    rows = frame[frame[column].isin(subsets)]
    return columns_sig(rows, ["video_id", "class_name", "class_index", "group", column])


def pictured_sig(variant):
    """The digest of the motion that the page of a motion network may show."""
    folders = [motion_folder(variant)]
    sigs = [subset_sig(split, ["train"], folders) for split in network_splits(variant)]
    return PENDING if PENDING in sigs else " ".join(sigs)


def network_splits(variant):
    """The splits that some experiment trains a motion network variant on."""
    return sorted({run.split for run in list_network_runs(CONFIG) if run.experiment == variant})


def training_sig(splits):
    """The digest of the videos that are in the training subset of every one of some splits."""
    frame = load_manifest()
    if frame is None:
        return PENDING
    columns = [f"split_{split}" for split in splits]
    rows = frame[(frame.reindex(columns=columns) == "train").all(axis=1)]
    return columns_sig(rows, ["video_id", "path", "class_name", "class_index", "fingerprint"])


@cache
def index_in(path, state):
    try:
        return read_index(path)
    except MoclipError:  # damaged, or of an older format: the job that reads it says so
        return None


def load_index(folder):
    """The index of a feature set, read once for each state of its file, or None before it is there."""
    path = Path(folder, "index.json")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return LAST.get(path)
    LAST[path] = index_in(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    return LAST[path]


def index_sig(*folders):
    """The digest of the rows of whole feature sets, in whatever shards they lie."""
    indexes = [load_index(folder) for folder in folders]
    return sig_of("".join(index.content for index in indexes).encode()) if all(indexes) else PENDING


def subset_sig(split, subsets, folders):
    """The digest of the rows of some subsets of a split in whole feature sets."""
    indexes = [load_index(folder) for folder in folders]
    if not all(indexes):
        return PENDING
    try:
        contents = [index.content_of(split=int(split), subsets=subsets) for index in indexes]
    except MoclipError:  # the index was written before the dataset had the split
        return PENDING
    return sig_of("".join(contents).encode())


def content_sig(folder, shard):
    """The digest of the content of one shard of a feature set."""
    index = load_index(folder)
    if index is None:
        return PENDING
    return f"sig:{index.shard_contents.get(f'shard-{shard}.h5', 'absent')}"


# Feature sets, each a folder of shards and an index.
def motion_folder(network):
    """The motion features that a motion network variant sees."""
    return f"{RESULTS}/motion/{CONFIG['motion_network'][network]['motion']}"


def followed_motion(variant):
    """The motion features that the frames of an appearance variant follow, or none."""
    motion = CONFIG["appearance"][variant]["motion"]
    return f"{RESULTS}/motion/{motion}" if motion else ""


def index_of(folder):
    return ancient(f"{folder}/index.json")


def followed_index(variant):
    """The index of the motion that the frames of an appearance variant follow, if they follow any."""
    folder = followed_motion(variant)
    return index_of(folder) if folder else []


def followed_sig(variant, shard=None):
    """The digest of that motion, in one shard or in all; and words where there is none, unlike any digest."""
    folder = followed_motion(variant)
    if not folder:
        return "motion:none"
    return index_sig(folder) if shard is None else content_sig(folder, shard)


def shard_files(folder):
    return [f"{folder}/shard-{shard}.h5" for shard in SHARDS]


MANIFEST = f"{RESULTS}/manifest.tsv"
MOTION = [f"{RESULTS}/motion/{variant}" for variant in list_used(CONFIG, "motion")]
APPEARANCE = [f"{RESULTS}/appearance/{variant}" for variant in list_used(CONFIG, "appearance")]
NETWORKS = [f"{run.experiment}/split-{run.split}/seed-{run.seed}" for run in list_network_runs(CONFIG)]
EMBEDDINGS = [f"{RESULTS}/motion_embedding/{network}" for network in NETWORKS]
TEXTS = [f"{RESULTS}/text/{variant}/class_embeddings.safetensors" for variant in list_used(CONFIG, "text")]
RUNS = [f"{RESULTS}/experiments/{run.experiment}/split-{run.split}/seed-{run.seed}" for run in list_runs(CONFIG)]
INDEXES = [f"{folder}/index.json" for folder in [*MOTION, *APPEARANCE, *EMBEDDINGS]]
SEEING = list_used(CONFIG, "motion_network") if CONFIG["report"]["pictures"] else ()
PICTURES = [f"{RESULTS}/motion_pictures/{variant}.html" for variant in SEEING]
# The mistakes of the first experiment are shown.
MISTAKEN = next(iter(CONFIG["experiments"])) if CONFIG["report"]["mistakes"] else None
MISTAKES = [f"{RESULTS}/mistakes.json"] if MISTAKEN else []


def all_outputs():
    """Every output of every stage."""
    shards = [shard for folder in [*MOTION, *APPEARANCE, *EMBEDDINGS] for shard in shard_files(folder)]
    networks = [f"{RESULTS}/motion_network/{network}" for network in NETWORKS]
    models = [f"{network}/{name}" for network in networks for name in ("model.safetensors", "history.tsv", "curve.svg")]
    names = (
        "head.safetensors",
        "history.tsv",
        "predictions.tsv",
        "metrics.json",
        "run.yaml",
    )
    runs = [f"{run}/{name}" for run in RUNS for name in names]
    tables = [
        f"{RESULTS}/{name}"
        for name in (
            "rejects.tsv",
            "datacard.html",
            "summary.tsv",
            "comparisons.tsv",
            "class_gains.tsv",
            "costs.tsv",
            "report.html",
        )
    ]
    heads = sorted({heads_index(run.experiment, run.split) for run in list_runs(CONFIG)})
    return [MANIFEST, *INDEXES, *shards, *TEXTS, *models, *heads, *runs, *tables, *PICTURES, *MISTAKES]


def uses(experiment, what):
    """Whether a method of an experiment reads a stream (`motion`, `appearance`) or the class embeddings (`text`)."""
    return reads(CONFIG["experiments"][experiment]["methods"], what)


def run_folders(experiment, split, seed):
    """The feature sets that a run reads, by stream."""
    entry = CONFIG["experiments"][experiment]
    folders = {}
    if uses(experiment, "motion"):
        folders["motion"] = f"{RESULTS}/motion_embedding/{entry['motion_network']}/split-{split}/seed-{seed}"
    if uses(experiment, "appearance"):
        folders["appearance"] = f"{RESULTS}/appearance/{entry['appearance']}"
    return folders


def run_index(stream):
    """An input function: the index of one stream of a run, if the run reads it."""

    def index(wildcards):
        folders = run_folders(wildcards.experiment, wildcards.split, wildcards.seed)
        return index_of(folders[stream]) if stream in folders else []

    return index


def run_sig(wildcards):
    """The digest of the features that the test of a run reads."""
    folders = run_folders(wildcards.experiment, wildcards.split, wildcards.seed).values()
    return subset_sig(wildcards.split, ["test"], folders)


def run_text(wildcards):
    """The class embeddings that a run reads."""
    if not uses(wildcards.experiment, "text"):
        return []
    return text_file(wildcards.experiment)


def text_file(experiment):
    return f"{RESULTS}/text/{CONFIG['experiments'][experiment]['text']}/class_embeddings.safetensors"


def run_network(experiment, split, seed):
    """The motion network behind a run."""
    variant = CONFIG["experiments"][experiment]["motion_network"]
    return f"{RESULTS}/motion_network/{variant}/split-{split}/seed-{seed}/model.safetensors"


def run_model(wildcards):
    """An input: the motion network behind a run, if it reads its embeddings."""
    if not uses(wildcards.experiment, "motion"):
        return []
    return ancient(run_network(wildcards.experiment, wildcards.split, wildcards.seed))


def weight_files(path):
    """The file behind `weights` or `model`, if it is one of this machine, so that replacing it is seen."""
    if path.startswith("local-dir:"):
        folder = Path(path.removeprefix("local-dir:"))
        return sorted(str(file) for file in folder.glob("open_clip_*") if file.is_file())
    return [path] if Path(path).is_file() else []


def encoder_files(variant):
    entry = CONFIG["appearance"][variant]
    return [*weight_files(entry["model"]), *weight_files(entry["weights"])]


def encoder_cfg(variant):
    """What the encoder of an appearance variant reads: nothing of which frames are chosen."""
    keys = ("model", "weights", "untrained", "device", "precision")
    return {key: CONFIG["appearance"][variant][key] for key in keys}


def prompt_files(variant):
    entry = CONFIG["text"][variant]
    return [entry[key] for key in ("templates", "phrases") if entry[key] != "from_class_names"]


def training_cfg(variant):
    """What the training of a motion network reads: all of its variant but how it is tested, and who loads."""
    others = ("test", "loaders")
    entry = {key: value for key, value in CONFIG["motion_network"][variant].items() if key not in others}
    return json.dumps({"motion_network": entry}, sort_keys=True)


def embedding_cfg(variant):
    """What the frozen motion network reads; how views are drawn, where there are any."""
    entry = embedding_settings(CONFIG["motion_network"][variant])
    return json.dumps({"motion_network": entry}, sort_keys=True)


def pictures_cfg(variant):
    """What the page of motion pictures reads."""
    entry = {key: CONFIG["motion_network"][variant][key] for key in ("field", "max_px")}
    splits = network_splits(variant)
    shown = {key: CONFIG["report"][key] for key in ("pictures", "picture_frames")}
    return json.dumps({"report": shown, "motion_network": entry, "splits": splits}, sort_keys=True)


def mistaken_motion():
    """The motion features whose vectors are drawn over the mistakes: those that the experiment saw, or any."""
    network = CONFIG["experiments"][MISTAKEN].get("motion_network") if MISTAKEN else None
    return [motion_folder(network)] if network else MOTION[:1]


def run_cfg(experiment):
    """The part of the configuration that a run is made of, every variant resolved."""
    entry = CONFIG["experiments"][experiment]
    parts = ("appearance", "motion_network", "text", "head")
    resolved = {part: CONFIG[part][entry[part]] for part in parts if entry.get(part)}
    # Its other splits and seeds are no business of a run: another seed tests no run again.
    own = {key: value for key, value in entry.items() if key not in {"splits", "seeds"}}
    return json.dumps({"experiment": own, **resolved}, sort_keys=True)


# Heads are trained a batch at a time: every run on one split that reads the same variants.
def batch_of(experiment):
    """The batch of an experiment, by the variants that it reads."""
    entry = CONFIG["experiments"][experiment]
    keys = {"appearance": "appearance", "motion": "motion_network"}
    return "+".join(entry[key] for stream, key in keys.items() if uses(experiment, stream))


def run_folder(run):
    return f"{RESULTS}/experiments/{run.experiment}/split-{run.split}/seed-{run.seed}"


def batches():
    """The runs of each batch, by its name and split."""
    found = {}
    # Sorted: another order of the experiments trains nothing again.
    for run in sorted(list_runs(CONFIG)):
        found.setdefault((batch_of(run.experiment), run.split), []).append(run)
    return found


def batch_rule(batch, split):
    """What the training of a batch is called: letters, digits and `_`; no two batches are called the same."""
    # `a-b` and `a_b` would be, so that a name of more than letters and digits has a digest of itself behind it.
    plain = re.fullmatch(r"[A-Za-z0-9]+(\+[A-Za-z0-9]+)?", batch)
    mark = "" if plain else f"_{blake2b(batch.encode(), digest_size=3).hexdigest()}"
    return re.sub(r"\W", "_", f"head_{batch}{mark}_split_{split}")


def heads_index(experiment, split):
    """The index of the heads of a batch."""
    return f"{RESULTS}/heads/{batch_of(experiment)}/split-{split}/index.json"


def run_files(run):
    """What the heads of a run are made from, by name, and where they go."""
    folders = run_folders(run.experiment, run.split, run.seed)
    files = {stream: f"{folder}/index.json" for stream, folder in folders.items()}
    if "motion" in folders:
        files["network"] = run_network(run.experiment, run.split, run.seed)
    if uses(run.experiment, "text"):
        files["text"] = text_file(run.experiment)
    return files


def batch_runs(runs):
    """The runs of a batch and their files, as JSON by name: all that decides which heads are trained."""
    described = {}
    for run in runs:
        entry, folder = CONFIG["experiments"][run.experiment], run_folder(run)
        described[f"{run.experiment}/split-{run.split}/seed-{run.seed}"] = {
            **run_files(run),
            "output": f"{folder}/head.safetensors",
            "history": f"{folder}/history.tsv",
            "seed": run.seed,
            "methods": entry["methods"],
            "head": CONFIG["head"][entry["head"]] if list_heads(entry["methods"]) else {},
            "shots": entry["shots"],
        }
    return json.dumps(described, sort_keys=True)


def batch_indexes(runs):
    """The feature sets that a batch reads."""
    folders = [folder for run in runs for folder in run_folders(run.experiment, run.split, run.seed).values()]
    return list(dict.fromkeys(folders))


def batch_models(runs):
    """The motion networks and class embeddings behind a batch."""
    files = [run_files(run) for run in runs]
    return sorted({entry[key] for entry in files for key in ("network", "text") if key in entry})


def cost_runs():
    """The first run of each experiment, and what it is made of, for the table of costs."""
    first = {}
    for run in list_runs(CONFIG):
        first.setdefault(run.experiment, run)
    found = []
    for run in first.values():
        entry, files = CONFIG["experiments"][run.experiment], run_files(run)
        features = {"appearance": files.get("appearance"), "motion_embedding": files.get("motion")}
        variants = {}
        if "motion" in files:
            features["motion"] = f"{motion_folder(entry['motion_network'])}/index.json"
            variants["motion_network"] = CONFIG["motion_network"][entry["motion_network"]]
        if "appearance" in files:
            variants["appearance"] = CONFIG["appearance"][entry["appearance"]]
        found.append(
            {
                **variants,
                **{key: files[key] for key in ("network",) if key in files},
                "experiment": run.experiment,
                "methods": entry["methods"],
                "head": f"{run_folder(run)}/head.safetensors",
                "features": {name: path for name, path in features.items() if path},
            }
        )
    return found


def head_sig(wildcards):
    """The digest of the heads of a run."""
    path = Path(heads_index(wildcards.experiment, wildcards.split))
    try:
        digests = LAST[path] = read_digests(path)
    except MoclipError:  # not there yet, or damaged: the batch's checkpoint writes it
        if path.exists() or path not in LAST:
            return PENDING
        digests = LAST[path]
    name = f"{wildcards.experiment}/split-{wildcards.split}/seed-{wildcards.seed}"
    return f"sig:{digests.get(name, 'absent')}"


# What a job asks a scheduler for. Time and memory follow the work, with room to spare, and double with each retry; the
# figures are in docs/cluster.md. Snakemake asks anew when the manifest is there, and before each attempt.
START_SECONDS = 300  # a slow shared folder, imports, the weights of a large model


def num_videos(shard=None):
    """How many videos a shard has, or the data set; none before there is a manifest."""
    state = manifest_state()
    if state is None:
        return 0
    return len(manifest_of(state)) if shard is None else shards_of(state).get(int(shard), ("", 0))[1]


def minutes(seconds, attempt):
    """Minutes for a job that is taken to compute for some seconds."""
    return math.ceil((START_SECONDS + seconds) / 60) * 2 ** (attempt - 1)


def mem_mb(start, each, videos, attempt):
    """Megabytes for a job that holds some videos' worth of data beside what it starts with."""
    return math.ceil(start + each * videos) * 2 ** (attempt - 1)


def decoding_mb(start, each, videos, attempt):
    """As `mem_mb`, for a job that decodes.

    A job that was killed may have met a video that eats memory: its next attempt has room for that decoder to reach
    its own limit, so that the video is rejected by name and the rest of the shard goes on.
    """
    enough = start + DATASET["limits"]["memory_mb"] if attempt > 1 else 0
    return max(mem_mb(start, each, videos, attempt), enough)


def gpus(device):
    """How many GPUs a job asks for: one, unless `device` is `cpu`, or `auto` where jobs run here and there is none."""
    if device == "auto" and workflow.local_exec:
        return int(has_gpu())
    return int(device != "cpu")


def encoder_gpus(variant):
    return gpus(CONFIG["appearance"][variant]["device"])


def network_gpus(variant):
    return gpus(CONFIG["motion_network"][variant]["device"])


def network_threads(variant):
    """How many processors a job asks for: those that compute, or, beside a GPU, those that make batches."""
    entry = CONFIG["motion_network"][variant]
    return max(entry["threads"], entry["loaders"])


def motion_seconds(wildcards):
    """A decode of every frame, or a decode, an encode and a decode."""
    transcoded = CONFIG["motion"][wildcards.variant]["source"] == "transcode"
    return num_videos(wildcards.shard) * (4 if transcoded else 1)


def appearance_seconds(wildcards):
    """A decode up to the last chosen frame, and the image tower once for each."""
    entry = CONFIG["appearance"][wildcards.variant]
    frames = 1 if entry["frames"]["policy"] == "middle" else entry["frames"]["count"]
    return num_videos(wildcards.shard) * (1 + frames * (0.1 if gpus(entry["device"]) else 1))


def embedding_seconds(wildcards):
    """The network once for each segment, crop and flip."""
    entry = CONFIG["motion_network"][wildcards.variant]
    test = entry["test"]
    passes = test["num_segments"] * test["crops"] * (2 if test["flips"] else 1)
    passes += test["views"]["count"] * test["views"]["num_segments"]
    return num_videos(wildcards.shard) * (1 + passes * (0.02 if gpus(entry["device"]) else 0.2))


def training_seconds(wildcards):
    """The network forth and back for each segment of each video, in every epoch. Most videos train."""
    entry = CONFIG["motion_network"][wildcards.variant]
    train = entry["train"]
    passes = train["epochs"] * train["num_segments"] * num_videos()
    return passes * (0.02 if gpus(entry["device"]) else 0.2)


def batch_mb(wildcards):
    """What a batch takes on its way forth and back; a GPU has memory of its own. 93 MB a picture for EfficientNet-B0."""
    entry = CONFIG["motion_network"][wildcards.variant]
    if gpus(entry["device"]):
        return 0
    pictures = entry["train"]["batch_size"] * entry["train"]["num_segments"]
    return pictures * 100 * (entry["input_px"] / 224) ** 2
