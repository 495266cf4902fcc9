"""The reason why a job would run is given by key, old value and new value."""

import json

from moclip.workflow.explain import explain_params, explain_reason, parse_dry_run, trace

BEFORE = json.dumps({"head": {"epochs": 100, "note": "the paper's", "sizes": [1, 2]}, "methods": ["fusion"]})
NOW = json.dumps({"head": {"epochs": 50, "note": "the paper's", "sizes": [1, 2]}, "methods": ["fusion"]})
TEXT = f"""Building DAG of jobs...
checkpoint manifest:
    input: lists.csv
    output: results/toy/manifest.tsv
    jobid: 2
    reason: Missing output files: results/toy/manifest.tsv

rule head:
    input: results/toy/manifest.tsv, results/toy/index.json
    output: results/toy/head.safetensors, results/toy/history.tsv
    log: logs/toy/head.log
    reason: Params have changed since last execution: Union of exclusive params before and now across all output: \
before: {BEFORE!r},'code:aaaa' now: {NOW!r},'code:bbbb'\x20
    wildcards: split=1

localrule all:
    input: results/toy/head.safetensors
    reason: Input files updated by another job: results/toy/head.safetensors
"""


def test_the_jobs_of_a_dry_run_are_read_with_their_files() -> None:
    manifest, head = parse_dry_run(TEXT)
    assert (manifest.rule, head.rule) == ("manifest", "head")
    assert head.inputs == ("results/toy/manifest.tsv", "results/toy/index.json")
    assert head.outputs == ("results/toy/head.safetensors", "results/toy/history.tsv")


def test_a_changed_key_is_named_with_both_values_and_what_is_equal_is_not() -> None:
    head = parse_dry_run(TEXT)[1]
    assert explain_reason(head.reason) == [
        "changed: the code that the rule runs (aaaa -> bbbb)",
        "changed: head.epochs: 100 -> 50",
    ]


def test_a_key_that_is_new_or_gone_is_told_from_one_that_is_null() -> None:
    lines = explain_params(['{"a": {"x": null}}'], ['{"a": {"y": 1}}'])
    assert lines == ["changed: a.x: null -> nothing", "changed: a.y: nothing -> 1"]


def test_a_missing_file_is_named() -> None:
    manifest = parse_dry_run(TEXT)[0]
    assert explain_reason(manifest.reason) == ["missing: results/toy/manifest.tsv"]


def test_a_target_is_traced_to_all_that_makes_it_stale() -> None:
    chain = trace(["results/toy/history.tsv"], jobs=parse_dry_run(TEXT))
    assert [job.rule for job in chain] == ["head", "manifest"]
    assert trace(["results/toy/other"], jobs=parse_dry_run(TEXT)) == []


def test_a_reason_of_another_kind_stays_in_the_words_of_the_engine() -> None:
    assert explain_reason("Code has changed since last execution") == ["its script changed"]
    assert explain_reason("Unfinished queue input") == ["Unfinished queue input"]
    assert explain_reason("") == ["the engine gives no reason"]
