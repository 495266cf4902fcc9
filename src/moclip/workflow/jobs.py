"""Jobs: the files that a job reads and writes, its params, and the gates above it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from moclip.workflow.signatures import PENDING

Params = dict[str, str]

Wildcards = Mapping[str, str]

# A job and the name of one of its outputs.
Source = tuple["Job", str]
Inputs = Mapping[str, Source | Sequence[Source]]

# The rules whose jobs are gates.
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
    inputs: Mapping[str, Sequence[Source]]
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


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """The dependencies of a job, as the function of its rule returns them; `Job` explains the fields.

    An input is a pair of a job and the name of its output, or a list of pairs.
    """

    inputs: Inputs
    params: Callable[[], Params]
    follows: frozenset[str] = frozenset()
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def to_json(value: Any) -> str:
    """Return a part of the configuration as sorted JSON."""
    return json.dumps(value, sort_keys=True)


def unique(pairs: Iterable[Source]) -> list[Source]:
    """Return the pairs without repetitions, in order."""
    return list(dict.fromkeys(pairs))


def name_read(names: Sequence[str]) -> str:
    """Return the param that names the inputs whose digests the record of a job holds."""
    return f"reads:{' '.join(names)}"


def join_signatures(signatures: Iterable[str]) -> str:
    """Return several signatures as one, which is pending if one of them is."""
    found = list(signatures)
    return PENDING if PENDING in found else " ".join(found) or "sig:none"
