"""The plan: every job of a configuration, the files that it reads and writes, and the signature that it is made for.

A *gate* is a job whose output summarizes what is above it: the manifest, an index, a model. When a gate finishes, the
engine evaluates the params of its direct dependents again. So every job has all gates above it as direct inputs: it
waits until none of them can change any more, and everything it reads is final when it starts.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from moclip.code_digest import script_digests
from moclip.config import Run, list_network_runs, list_runs, list_used
from moclip.manifest import dataset_signature
from moclip.methods import list_heads, reads
from moclip.motion_embedding_extraction import embedding_settings
from moclip.subsets import LEARNED
from moclip.workflow.content import Contents
from moclip.workflow.paths import Paths, group_motion_shards
from moclip.workflow.signatures import PENDING, Signatures, parse_content

Params = dict[str, str]
Wildcards = Mapping[str, str]
GATES = frozenset(
    {
        "demo_dataset",
        "manifest",
        "motion_index",
        "appearance_index",
        "text",
        "motion_network",
        "motion_embedding_index",
        "head",
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One job: its rule and wildcards, its files by name, and its params.

    `inputs` are pairs of a job and the name of its output that is read; `single` names the inputs that are one file and
    no list. `follows` names the inputs whose jobs start this one whenever they run; of all others only the content
    counts, through `params`. `also` holds lists of outputs.
    """

    rule: str
    wildcards: Wildcards
    inputs: Mapping[str, Sequence[tuple["Job", str]]]
    outputs: Mapping[str, str]
    params: Callable[[], Params]
    single: frozenset[str] = frozenset()
    follows: frozenset[str] = frozenset()
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def read_files(self) -> list[str]:
        """Return the files whose digests its record holds."""
        names = self.params().get("reads", "").removeprefix("reads:").split()
        return [file for name in names for file in self.input_files(name)]

    @property
    def files(self) -> tuple[str, ...]:
        """All output files."""
        return (*self.outputs.values(), *(name for names in self.also.values() for name in names))

    @cached_property
    def above(self) -> tuple["Job", ...]:
        """The jobs whose outputs it reads."""
        return tuple(dict.fromkeys(job for pairs in self.inputs.values() for job, _ in pairs))

    @cached_property
    def gates(self) -> tuple["Job", ...]:
        """All gates above it, from the top of the graph down."""
        found: dict[Job, None] = {}
        for job in self.above:
            found |= dict.fromkeys(job.gates)
            if job.rule in GATES:
                found[job] = None
        return tuple(found)

    def input_files(self, name: str) -> list[str]:
        """Return the files of an input."""
        return [job.outputs[output] for job, output in self.inputs.get(name, ())]

    def gate_files(self, *, named: Sequence[str]) -> list[str]:
        """Return the files of the gates above it that are not among the named inputs."""
        own = {file for name in named for file in self.input_files(name)}
        return [file for gate in self.gates for file in gate.outputs.values() if file not in own]


def to_json(value: Any) -> str:
    """Return a part of the configuration as sorted JSON."""
    return json.dumps(value, sort_keys=True)


class Plan:
    """All jobs of a checked configuration."""

    def __init__(
        self, config: Mapping[str, Any], *, code: Callable[[str], str], listing: Callable[[], str], contents: Contents
    ) -> None:
        """Take the configuration, and where signatures come from that are no part of it.

        `code` gives the digest of a rule's code, `listing` that of the dataset's videos and lists (or `sig:pending`),
        `contents` those of small files that the configuration names.
        """
        self.config, self.paths = config, Paths(dataset=config["dataset"]["name"])
        self.signatures = Signatures(self.paths.outputs("manifest")["manifest"])
        self._code, self._listing, self._contents = code, listing, contents
        self._jobs: dict[tuple[str, ...], Job] = {}
        dataset = config["dataset"]
        self.shards = range(dataset["num_shards"])
        self.embedded = group_motion_shards(dataset["num_shards"])
        self.complete = str(Path(dataset["root"]).parent / "complete.json") if dataset["generate"] == "demo" else ""
        self.runs = list_runs(config)
        self.network_runs = list_network_runs(config)
        self.motion = list_used(config, "motion")
        self.appearance = list_used(config, "appearance")
        self.batches = self._list_batches()
        # The misclassified videos of the first experiment are shown.
        self.mistaken = next(iter(config["experiments"])) if config["report"]["mistakes"] else ""

    # Jobs by rule ----------------------------------------------------------------------------------------------------

    def job(self, rule: str, **wildcards: Any) -> Job:
        """Return the job of a rule with these wildcards."""
        values = {name: str(value) for name, value in wildcards.items()}
        key = (rule, *(f"{name}={value}" for name, value in sorted(values.items())))
        if key not in self._jobs:
            inputs, params, others = getattr(self, f"_{rule}")(**values)
            outputs = {"complete": self.complete} if rule == "demo_dataset" else self._outputs(rule, values)
            self._jobs[key] = Job(
                rule=rule,
                wildcards=values,
                inputs={name: [pairs] if isinstance(pairs, tuple) else pairs for name, pairs in inputs.items()},
                single=frozenset(name for name, pairs in inputs.items() if isinstance(pairs, tuple)),
                outputs=outputs,
                params=lambda: {**params(), "code": self._code(rule)},
                **others,
            )
        return self._jobs[key]

    def _outputs(self, rule: str, wildcards: Wildcards) -> dict[str, str]:
        return {name: pattern.format(**wildcards) for name, pattern in self.paths.outputs(rule).items()}

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Every job, each behind those above it."""
        found: dict[Job, None] = {}

        def add(job: Job) -> None:
            if job not in found:
                for above in job.above:
                    add(above)
                found[job] = None

        for job in self._wanted():
            add(job)
        return tuple(found)

    def _wanted(self) -> Iterator[Job]:
        for run in self.network_runs:
            yield self.job("motion_network_curve", variant=run.experiment, split=run.split, seed=run.seed)
        for run in self.runs:
            yield self._run_job(run)
        if self.config["report"]["pictures"]:
            yield from (self.job("motion_pictures", variant=name) for name in list_used(self.config, "motion_network"))
        yield from (self.job("text", variant=name) for name in list_used(self.config, "text"))
        yield self.job("report")

    def targets(self) -> list[str]:
        """Return every output of every job: whatever is missing is made."""
        return [file for job in self.jobs for file in job.files]

    def _run_job(self, run: Run) -> Job:
        return self.job("evaluate", experiment=run.experiment, split=run.split, seed=run.seed)

    # Each of the methods below returns the inputs, the params and other fields of the job of one rule.

    @property
    def _base(self) -> tuple[Job, str]:
        return self.job("manifest"), "manifest"

    def _demo_dataset(self) -> Any:
        dataset = self.config["dataset"]
        return {}, lambda: {"cfg": to_json({key: dataset[key] for key in ("root", "lists")})}, {}

    def _manifest(self) -> Any:
        # Not what becomes of bad videos, nor where the videos are stored.
        others = {"root", "on_bad_video", "limits", "rejected_test_videos"}
        dataset = self.config["dataset"]
        cfg = to_json({"dataset": {key: dataset[key] for key in dataset if key not in others}})
        inputs = {"complete": (self.job("demo_dataset"), "complete")} if self.complete else {}
        return inputs, lambda: {"cfg": cfg, "sig": self._listing()}, {"follows": frozenset({"complete"})}

    def _decoding(self, section: str, variant: str) -> str:
        dataset = self.config["dataset"]
        bad = {key: dataset[key] for key in ("on_bad_video", "limits")}
        return to_json({section: self.config[section][variant], **bad})

    def _motion_shard(self, variant: str, shard: str) -> Any:
        def params() -> Params:
            return {"cfg": self._decoding("motion", variant), "sig": self.signatures.videos(shard)}

        return {"manifest": self._base}, params, {}

    def _motion_index(self, variant: str) -> Any:
        def params() -> Params:
            return {"cfg": to_json({"motion": self.config["motion"][variant]}), "sig": self.signatures.features()}

        shards = [(self.job("motion_shard", variant=variant, shard=shard), "shard") for shard in self.shards]
        return {"manifest": self._base, "shards": shards}, params, {"follows": frozenset({"shards"})}

    def motion_index(self, network: str) -> tuple[Job, str]:
        """Return the index of the motion features that a motion network variant reads."""
        return self.job("motion_index", variant=self.config["motion_network"][network]["motion"]), "index"

    def _followed(self, variant: str) -> list[tuple[Job, str]]:
        motion = self.config["appearance"][variant]["motion"]
        return [(self.job("motion_index", variant=motion), "index")] if motion else []

    def _appearance_cfg(self, variant: str) -> dict[str, Any]:
        # The encoder's content stands for its place.
        entry = self.config["appearance"][variant]
        return {key: value for key, value in entry.items() if key not in {"model", "weights", "motion"}}

    def _appearance_shard(self, variant: str, shard: str) -> Any:
        followed = self._followed(variant)
        dataset = self.config["dataset"]
        bad = {key: dataset[key] for key in ("on_bad_video", "limits")}

        def params() -> Params:
            motion = [self.signatures.shard_rows(job.outputs[name], shard) for job, name in followed]
            return {
                "cfg": to_json({"appearance": self._appearance_cfg(variant), **bad}),
                "sig": self.signatures.videos(shard),
                "encoder": self._encoder(variant),
                "motion": motion[0] if motion else "motion:none",
            }

        return {"manifest": self._base, "motion": followed[0] if followed else []}, params, {}

    def _appearance_index(self, variant: str) -> Any:
        followed = self._followed(variant)

        def params() -> Params:
            motion = [self.signatures.rows([job.outputs[name]]) for job, name in followed]
            return {
                "cfg": to_json({"appearance": self._appearance_cfg(variant)}),
                "sig": self.signatures.features(),
                "encoder": self._encoder(variant),
                "motion": motion[0] if motion else "motion:none",
            }

        shards = [(self.job("appearance_shard", variant=variant, shard=shard), "shard") for shard in self.shards]
        inputs = {"manifest": self._base, "motion": followed[0] if followed else [], "shards": shards}
        return inputs, params, {"follows": frozenset({"shards"})}

    def _encoder(self, variant: str) -> str:
        return f"encoder:{self._contents.encoder(self.config['appearance'][variant])}"

    def _text(self, variant: str) -> Any:
        entry = self.config["text"][variant]
        appearance = self.config["appearance"][entry["appearance"]]

        def params() -> Params:
            prompts = {
                key: "from_class_names" if entry[key] == "from_class_names" else _read_prompts(entry[key])
                for key in ("templates", "phrases")
            }
            encoder = {key: appearance[key] for key in ("untrained", "device", "precision")}
            return {
                "cfg": to_json({"text": prompts, "encoder": encoder}),
                "encoder": f"{self._encoder(entry['appearance'])} {self._contents.tokenizer(appearance)}",
                "sig": self.signatures.classes(),
            }

        return {"manifest": self._base}, params, {}

    def _motion_network(self, variant: str, split: str, seed: str) -> Any:
        entry = self.config["motion_network"][variant]
        motion, index = self.motion_index(variant)
        # Not how the network is tested, nor who loads.
        recipe = {key: value for key, value in entry.items() if key not in {"test", "loaders", "motion", "weights"}}

        def params() -> Params:
            return {
                "cfg": to_json({"motion_network": recipe}),
                "run": f"run:split {split}, seed {seed}",
                "weights": f"weights:{self._contents.weights(entry['weights'])}",
                "sig": self.signatures.labels(split, LEARNED, names=False),
                "classes": self.signatures.num_classes(),
                "motion": self.signatures.subset_rows([motion.outputs[index]], split=split, subsets=LEARNED),
            }

        return {"manifest": self._base, "motion": (motion, index)}, params, {}

    def _network(self, variant: str, split: str | int, seed: str | int, output: str = "model") -> tuple[Job, str]:
        return self.job("motion_network", variant=variant, split=split, seed=seed), output

    def _motion_network_curve(self, variant: str, split: str, seed: str) -> Any:
        network, history = self._network(variant, split, seed, "history")

        def params() -> Params:
            title = f"{variant}, split {split}, seed {seed}"
            return {"cfg": f"title:{title}", "sig": self.signatures.files([network.outputs[history]])}

        return {"history": (network, history)}, params, {}

    def _embedding_cfg(self, variant: str) -> str:
        return to_json({"motion_network": embedding_settings(self.config["motion_network"][variant])})

    def _motion_embedding_shard(self, variant: str, split: str, seed: str, shard: str) -> Any:
        motion, index = self.motion_index(variant)
        network, model = self._network(variant, split, seed)

        def params() -> Params:
            return {
                "cfg": self._embedding_cfg(variant),
                "sig": _join(
                    self.signatures.shard_rows(motion.outputs[index], one) for one in self.embedded[int(shard)]
                ),
                "network": self.signatures.model(network.outputs[model]),
            }

        return {"manifest": self._base, "motion": (motion, index), "model": (network, model)}, params, {}

    def _motion_embedding_index(self, variant: str, split: str, seed: str) -> Any:
        motion, index = self.motion_index(variant)
        network, model = self._network(variant, split, seed)

        def params() -> Params:
            return {
                "cfg": self._embedding_cfg(variant),
                "sig": self.signatures.rows([motion.outputs[index]]),
                "subsets": self.signatures.features(["video_id"]),
                "network": self.signatures.model(network.outputs[model]),
            }

        place = {"variant": variant, "split": split, "seed": seed}
        numbers = range(len(self.embedded))
        shards = [(self.job("motion_embedding_shard", **place, shard=number), "shard") for number in numbers]
        inputs = {"manifest": self._base, "motion": (motion, index), "model": (network, model), "shards": shards}
        return inputs, params, {"follows": frozenset({"shards"})}

    # Heads are trained a batch at a time: every run on one split that reads the same variants.

    def _uses(self, experiment: str, what: str) -> bool:
        return reads(self.config["experiments"][experiment]["methods"], what)

    def batch_of(self, experiment: str) -> str:
        """Return the batch of an experiment, named after the variants that it reads."""
        entry = self.config["experiments"][experiment]
        keys = {"appearance": "appearance", "motion": "motion_network"}
        return "+".join(entry[key] for stream, key in keys.items() if self._uses(experiment, stream))

    def _list_batches(self) -> dict[tuple[str, str], list[Run]]:
        found: dict[tuple[str, str], list[Run]] = {}
        # Sorted: another order of the experiments trains nothing again.
        for run in sorted(self.runs):
            found.setdefault((self.batch_of(run.experiment), str(run.split)), []).append(run)
        return found

    def batch_rule(self, batch: str, split: str) -> str:
        """Return the name of the rule of a batch: letters, digits and `_`, different for each batch."""
        # `a-b` and `a_b` would both become `a_b`, so a name with other signs gets a digest.
        plain = re.fullmatch(r"[A-Za-z0-9]+(\+[A-Za-z0-9]+)?", batch)
        mark = "" if plain else f"_{blake2b(batch.encode(), digest_size=3).hexdigest()}"
        return re.sub(r"\W", "_", f"head_{batch}{mark}_split_{split}")

    def streams(self, run: Run) -> dict[str, tuple[Job, str]]:
        """Return the indexes of the feature sets that a run reads, by stream."""
        entry = self.config["experiments"][run.experiment]
        found = {}
        if self._uses(run.experiment, "motion"):
            place = {"variant": entry["motion_network"], "split": run.split, "seed": run.seed}
            found["motion"] = (self.job("motion_embedding_index", **place), "index")
        if self._uses(run.experiment, "appearance"):
            found["appearance"] = (self.job("appearance_index", variant=entry["appearance"]), "index")
        return found

    def models(self, run: Run) -> dict[str, tuple[Job, str]]:
        """Return the motion network and the class embeddings behind a run, as far as it reads them."""
        entry = self.config["experiments"][run.experiment]
        found = {}
        if self._uses(run.experiment, "motion"):
            found["network"] = self._network(entry["motion_network"], run.split, run.seed)
        if self._uses(run.experiment, "text"):
            found["text"] = (self.job("text", variant=entry["text"]), "classes")
        return found

    def run_files(self, run: Run) -> dict[str, str]:
        """Return the files that a run is made from, by name."""
        return {name: job.outputs[output] for name, (job, output) in {**self.streams(run), **self.models(run)}.items()}

    def _describe_run(self, run: Run) -> dict[str, Any]:
        entry = self.config["experiments"][run.experiment]
        files = self.paths.run_head(run.experiment, run.split, run.seed)
        return {
            **self.run_files(run),
            "output": files["head"],
            "history": files["history"],
            "seed": run.seed,
            "methods": entry["methods"],
            "head": self.config["head"][entry["head"]] if list_heads(entry["methods"]) else {},
            "shots": entry["shots"],
        }

    def _head(self, batch: str, split: str) -> Any:
        runs = self.batches[batch, split]
        indexes = _unique(pair for run in runs for pair in self.streams(run).values())
        models = _unique(pair for run in runs for pair in self.models(run).values())
        described = {f"{run.experiment}/split-{run.split}/seed-{run.seed}": self._describe_run(run) for run in runs}

        def params() -> Params:
            files = [job.outputs[output] for job, output in indexes]
            return {
                "cfg": to_json(described),
                "split": f"split:{split}",
                "sig": self.signatures.labels(split, LEARNED, names=False),
                "classes": self.signatures.num_classes(),
                "features": self.signatures.subset_rows(files, split=split, subsets=LEARNED),
                "models": _join(self.signatures.model(job.outputs[output]) for job, output in models),
            }

        heads = [self.paths.run_head(run.experiment, run.split, run.seed) for run in runs]
        also = {
            "heads": tuple(files["head"] for files in heads),
            "histories": tuple(files["history"] for files in heads),
        }
        return {"manifest": self._base, "indexes": indexes, "models": models}, params, {"also": also}

    def _heads_of(self, run: Run) -> tuple[Job, str]:
        return self.job("head", batch=self.batch_of(run.experiment), split=run.split), "index"

    def resolve_run(self, experiment: str) -> dict[str, Any]:
        """Return the part of the configuration that a run is made of, every variant resolved."""
        entry = self.config["experiments"][experiment]
        parts = ("appearance", "motion_network", "text", "head")
        resolved = {part: self.config[part][entry[part]] for part in parts if entry.get(part)}
        # Its other splits and seeds do not matter: another seed tests no run again.
        own = {key: value for key, value in entry.items() if key not in {"splits", "seeds"}}
        return {"experiment": own, **resolved}

    def _evaluate(self, experiment: str, split: str, seed: str) -> Any:
        run = Run(experiment=experiment, split=int(split), seed=int(seed))
        streams, models, (heads, index) = self.streams(run), self.models(run), self._heads_of(run)

        def params() -> Params:
            files = [job.outputs[output] for job, output in streams.values()]
            return {
                "cfg": to_json(self.resolve_run(experiment)),
                "policy": self.config["dataset"]["rejected_test_videos"],
                "sig": self.signatures.labels(split, ["test"], names=True),
                "classes": self.signatures.classes(),
                "features": self.signatures.subset_rows(files, split=split, subsets=["test"]),
                "models": _join(self.signatures.model(job.outputs[output]) for job, output in models.values()),
                "head": self.signatures.head(heads.outputs[index], f"{experiment}/split-{split}/seed-{seed}"),
            }

        return {"manifest": self._base, "heads": (heads, index), **streams, **models}, params, {}

    # Tables and pages follow the runs that they read, which are no gates: the engine does not evaluate params again
    # when a run has finished, so params must not depend on its files. The record of a table holds their digests.

    def _of_runs(self, output: str, runs: Sequence[Run] | None = None) -> list[tuple[Job, str]]:
        return [(self._run_job(run), output) for run in (self.runs if runs is None else runs)]

    def _signed(self, pairs: Sequence[tuple[Job, str]]) -> str:
        return self.signatures.files([job.outputs[output] for job, output in pairs])

    @property
    def _indexes(self) -> list[tuple[Job, str]]:
        motion = [(self.job("motion_index", variant=name), "index") for name in self.motion]
        appearance = [(self.job("appearance_index", variant=name), "index") for name in self.appearance]
        embeddings = [
            (self.job("motion_embedding_index", variant=run.experiment, split=run.split, seed=run.seed), "index")
            for run in self.network_runs
        ]
        return [*motion, *appearance, *embeddings]

    def _comparisons(self) -> Any:
        predictions = self._of_runs("predictions")

        def params() -> Params:
            return {
                "cfg": json.dumps([job.outputs[output] for job, output in predictions]),
                "policy": self.config["dataset"]["rejected_test_videos"],
                "sig": self.signatures.columns(["video_id", "group"]),
                "reads": _name_read(["predictions"]),
            }

        inputs = {"manifest": self._base, "predictions": predictions}
        return inputs, params, {"follows": frozenset({"predictions"})}

    def _summary(self) -> Any:
        metrics = self._of_runs("metrics")

        def params() -> Params:
            cfg = json.dumps([job.outputs[output] for job, output in metrics])
            return {"cfg": cfg, "reads": _name_read(["metrics"])}

        return {"metrics": metrics}, params, {"follows": frozenset({"metrics"})}

    def cost_runs(self) -> list[dict[str, Any]]:
        """Return the first run of each experiment and what it is made of, for the table of costs."""
        first: dict[str, Run] = {}
        for run in self.runs:
            first.setdefault(run.experiment, run)
        return [self._describe_cost(run) for run in first.values()]

    def _describe_cost(self, run: Run) -> dict[str, Any]:
        entry, files = self.config["experiments"][run.experiment], self.run_files(run)
        features = {"appearance": files.get("appearance"), "motion_embedding": files.get("motion")}
        variants = {}
        if "motion" in files:
            motion, index = self.motion_index(entry["motion_network"])
            features["motion"] = motion.outputs[index]
            variants["motion_network"] = self.config["motion_network"][entry["motion_network"]]
        if "appearance" in files:
            variants["appearance"] = self.config["appearance"][entry["appearance"]]
        return {
            **variants,
            **{key: files[key] for key in ("network",) if key in files},
            "experiment": run.experiment,
            "methods": entry["methods"],
            "head": self.paths.run_head(run.experiment, run.split, run.seed)["head"],
            "features": {name: path for name, path in features.items() if path},
        }

    def _costs(self) -> Any:
        first = {entry["experiment"]: entry for entry in self.cost_runs()}
        runs = [next(run for run in self.runs if run.experiment == name) for name in first]
        heads = _unique(self._heads_of(run) for run in runs)
        networks = _unique(self.models(run)["network"] for run in runs if "network" in self.models(run))

        def params() -> Params:
            names = [f"{run.experiment}/split-{run.split}/seed-{run.seed}" for run in runs]
            indexes = [self._heads_of(run)[0].outputs["index"] for run in runs]
            return {
                "cfg": to_json(list(first.values())),
                "benchmarks": self.paths.benchmarks,
                # The size of a file depends on how many videos share it; the digest of all rows does not.
                "shards": f"shards:{len(self.shards)}",
                "sig": self.signatures.rows([job.outputs[output] for job, output in self._indexes]),
                "heads": _join(self.signatures.head(path, name) for path, name in zip(indexes, names, strict=True)),
                "networks": _join(self.signatures.model(job.outputs[output]) for job, output in networks),
            }

        return {"indexes": self._indexes, "heads": heads, "networks": networks}, params, {}

    def _rejects(self) -> Any:
        indexes = [pair for pair in self._indexes if pair[0].rule != "motion_embedding_index"]

        def params() -> Params:
            files = [job.outputs[output] for job, output in indexes]
            return {"cfg": json.dumps(files), "sig": self.signatures.rows(files)}

        return {"indexes": indexes}, params, {}

    def splits_of_network(self, variant: str) -> list[int]:
        """Return the splits that some experiment trains a motion network variant on."""
        return sorted({run.split for run in self.network_runs if run.experiment == variant})

    def _motion_pictures(self, variant: str) -> Any:
        motion, index = self.motion_index(variant)
        entry = {key: self.config["motion_network"][variant][key] for key in ("field", "max_px")}
        shown = {key: self.config["report"][key] for key in ("pictures", "picture_frames")}
        splits = self.splits_of_network(variant)

        def params() -> Params:
            files = [motion.outputs[index]]
            return {
                "cfg": to_json({"report": shown, "motion_network": {variant: entry}, "splits": splits}),
                "sig": self.signatures.trained_on(splits),
                "motion": _join(self.signatures.subset_rows(files, split=split, subsets=["train"]) for split in splits),
            }

        return {"manifest": self._base, "motion": (motion, index)}, params, {}

    def _datacard(self) -> Any:
        indexes = [pair for pair in self._indexes if pair[0].rule == "motion_index"]
        manifest, table = self._base

        def params() -> Params:
            files = [job.outputs[output] for job, output in indexes]
            return {
                "cfg": to_json({"dataset": self.paths.dataset, "motion": list(self.motion)}),
                "sig": self.signatures.files([manifest.outputs[table]]),
                "features": self.signatures.rows(files),
            }

        return {"manifest": self._base, "indexes": indexes}, params, {}

    def _mistakes(self) -> Any:
        predictions = self._of_runs("predictions", [run for run in self.runs if run.experiment == self.mistaken])
        # The vectors that are drawn are those that the experiment saw, or any.
        network = self.config["experiments"][self.mistaken].get("motion_network")
        motion = [pair for pair in self._indexes if pair[0].rule == "motion_index"][:1]
        motion = [self.motion_index(network)] if network else motion

        def params() -> Params:
            return {
                "cfg": json.dumps({"number": self.config["report"]["mistakes"]}),
                "experiment": self.mistaken,
                "sig": self.signatures.columns(["video_id", "path", "class_name", "fingerprint"]),
                "motion": self.signatures.rows([job.outputs[output] for job, output in motion]),
                "reads": _name_read(["predictions"]),
            }

        inputs = {"manifest": self._base, "predictions": predictions, "motion": motion}
        return inputs, params, {"follows": frozenset({"predictions"})}

    def _report(self) -> Any:
        manifest, table = self._base
        tables = {
            "rejects": (self.job("rejects"), "rejects"),
            "summary": (self.job("summary"), "summary"),
            "comparisons": (self.job("comparisons"), "comparisons"),
            "gains": (self.job("comparisons"), "gains"),
            "costs": (self.job("costs"), "costs"),
            "datacard": (self.job("datacard"), "datacard"),
        }
        networks = [self._network(run.experiment, run.split, run.seed, "history") for run in self.network_runs]
        lists = {
            "metrics": self._of_runs("metrics"),
            "networks": networks,
            "mistakes": [(self.job("mistakes"), "mistakes")] if self.mistaken else [],
        }
        pages = list_used(self.config, "motion_network") if self.config["report"]["pictures"] else ()
        heads = _unique(self._heads_of(run) for run in self.runs)
        indexes = self._indexes

        def params() -> Params:
            return {
                "cfg": json.dumps(self.config, sort_keys=True),
                "order": json.dumps([*self.config["experiments"]]),
                "sig": self.signatures.files([manifest.outputs[table]]),
                "features": self.signatures.rows([job.outputs[output] for job, output in indexes]),
                "heads": self._signed(heads),
                "reads": _name_read([*tables, *lists]),
                "pages": json.dumps(list(pages)),
            }

        inputs = {"manifest": self._base, **tables, **lists, "heads": heads, "indexes": indexes}
        return inputs, params, {"follows": frozenset({*tables, "metrics", "mistakes"})}


def open_plan(config: Mapping[str, Any], *, scripts: Path, listing: str | None = None) -> Plan:
    """Return the plan of a checked configuration whose rules run the scripts of a folder.

    `listing` is the digest of the dataset's listing where the caller has it, as `manifest.dataset_signature` gives it.
    """
    dataset = config["dataset"]
    digests = script_digests(scripts, memo=Path(config["cache_dir"], "code"))

    def sign_listing() -> str:
        if listing is None and plan.complete and not Path(plan.complete).is_file():
            return PENDING  # rendered videos that do not exist yet
        return f"sig:{listing or dataset_signature(dataset)}"

    plan = Plan(
        config,
        code=lambda rule: f"code:{digests[rule]}",
        listing=sign_listing,
        contents=Contents(config["cache_dir"]),
    )
    return plan


def _unique(pairs: Iterator[tuple[Job, str]]) -> list[tuple[Job, str]]:
    return list(dict.fromkeys(pairs))


def _name_read(names: Sequence[str]) -> str:
    # The inputs whose digests the record of a job holds, for `records.write_record`.
    return f"reads:{' '.join(names)}"


def _join(signatures: Iterator[str]) -> str:
    found = list(signatures)
    return PENDING if PENDING in found else " ".join(found) or "sig:none"


def _read_prompts(path: str) -> Any:
    return parse_content(Path(path), parse=yaml.safe_load)
