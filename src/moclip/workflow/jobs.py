"""Jobs: the files that a job reads and writes, its params, and the gates above it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from moclip.workflow.signatures import PENDING

Params = dict[str, str]

Wildcards = Mapping[str, str]

# The rules whose jobs are gates.
GATES = frozenset(
    {
        "demo_dataset",
        "videos",
        "near_duplicates",
        "manifest",
        "motion_index",
        "appearance_index",
        "text",
        "motion_network",
        "motion_embedding_index",
        "head",
    }
)


@dataclass(frozen=True)
class Output:
    """One output of a job, which other jobs read."""

    job: "Job"
    name: str

    @property
    def file(self) -> str:
        """Its path."""
        return self.job.outputs[self.name]


Inputs = Mapping[str, Output | Sequence[Output]]


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """The inputs of a job by name, each an output or a list of outputs, and a function that returns its params.

    `also` has the lists of files that it writes beyond the outputs of its rule.
    """

    inputs: Inputs
    params: Callable[[], Params]
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One job: its rule and wildcards, its files by name, and its params."""

    rule: str
    wildcards: Wildcards
    inputs: Inputs
    outputs: Mapping[str, str]
    params: Callable[[], Params]
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """All output files."""
        return (*self.outputs.values(), *(file for files in self.also.values() for file in files))

    def sources(self, name: str) -> list[Output]:
        """Return the outputs behind an input; none if the job has no such input."""
        found = self.inputs.get(name, ())
        return [found] if isinstance(found, Output) else list(found)

    def input_files(self, name: str) -> list[str]:
        """Return the files of an input."""
        return [source.file for source in self.sources(name)]

    def read_files(self) -> list[str]:
        """Return the files whose digests its record holds."""
        names = self.params().get("reads", "").removeprefix("reads:").split()
        return [file for name in names for file in self.input_files(name)]

    def follows(self, name: str) -> bool:
        """Return whether the job starts whenever the jobs behind an input have run.

        Outputs of gates count by their content, through params. The demo videos are the exception: the manifest's
        params do not include the settings that they are rendered from.
        """
        return name == "complete" or any(source.job.rule not in GATES for source in self.sources(name))

    @cached_property
    def above(self) -> tuple["Job", ...]:
        """The jobs whose outputs it reads."""
        return tuple(dict.fromkeys(source.job for name in self.inputs for source in self.sources(name)))

    @cached_property
    def gates(self) -> tuple["Job", ...]:
        """All gates above it, from the top of the graph down.

        For a job of one seed, gates of other seeds do not count: the file of heads has a digest for each seed, so that
        the test of a run depends on its own seed alone, and one seed more adds no input to it.
        """
        found: dict[Job, None] = {}
        for job in self.above:
            found |= dict.fromkeys(gate for gate in job.gates if self.shares_seed(gate))
            if job.rule in GATES:
                found[job] = None
        return tuple(found)

    def shares_seed(self, other: "Job") -> bool:
        """Return whether two jobs have the same seed, or at least one of them has none."""
        seeds = {job.wildcards["seed"] for job in (self, other) if "seed" in job.wildcards}
        return len(seeds) < 2

    def gate_files(self, *, named: Sequence[str]) -> list[str]:
        """Return the files of the gates above it that are not among the named inputs."""
        own = {file for name in named for file in self.input_files(name)}
        return [file for gate in self.gates for file in gate.files if file not in own]


def to_json(value: Any) -> str:
    """Return parts of the canonical settings as sorted JSON."""
    return json.dumps(value, sort_keys=True)


def list_files(outputs: Iterable[Output]) -> list[str]:
    """Return the paths of some outputs."""
    return [output.file for output in outputs]


def join_signatures(signatures: Iterable[str]) -> str:
    """Return several signatures as one, which is pending if one of them is."""
    found = list(signatures)
    return PENDING if PENDING in found else " ".join(found) or "sig:none"
