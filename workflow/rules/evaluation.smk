# The test, read once per run, and the table over all runs.
rule evaluate:
    input:
        manifest=ancient(MANIFEST),
        heads=lambda wildcards: ancient(heads_index(wildcards.experiment, wildcards.split)),
        head=ancient(f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.safetensors"),
        network=run_model,
        motion=run_index("motion"),
        appearance=run_index("appearance"),
        text=run_text,
    output:
        predictions=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/predictions.tsv",
        metrics=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/metrics.json",
        run=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/run.yaml",
    log:
        f"{LOGS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/evaluate.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda wildcards, attempt: mem_mb(3000, 0.05, num_videos(), attempt),
    params:
        cfg=lambda wildcards: run_cfg(wildcards.experiment),
        policy=DATASET["rejected_test_videos"],
        sig=lambda wildcards: split_sig(wildcards.split, ["test"]),
        classes=lambda wildcards: classes_sig(),
        features=run_sig,
        head=head_sig,
        code=code("evaluate"),
    script:
        "../scripts/evaluate.py"


# Which method is better than which on the same videos, and where.
rule comparisons:
    input:
        manifest=ancient(MANIFEST),
        predictions=[f"{run}/predictions.tsv" for run in RUNS],
    output:
        comparisons=report(
            f"{RESULTS}/comparisons.tsv",
            caption="../report/comparisons.rst",
            category="Tables",
            labels={"table": "methods against each other"},
        ),
        gains=report(
            f"{RESULTS}/class_gains.tsv",
            caption="../report/gains.rst",
            category="Tables",
            labels={"table": "what fusion adds in each class"},
        ),
    log:
        f"{LOGS}/comparisons.log",
    conda:
        ENVIRONMENT
    params:
        cfg=json.dumps(RUNS),
        policy=DATASET["rejected_test_videos"],
        sig=lambda wildcards: table_sig(["video_id", "group"]),
        code=code("comparisons"),
    script:
        "../scripts/comparisons.py"


# What each method costs: parameters, multiply-accumulates, time and bytes. One run stands for its experiment.
rule costs:
    input:
        indexes=ancient(INDEXES),
        heads=[entry["head"] for entry in cost_runs()],
        networks=[entry["network"] for entry in cost_runs() if "network" in entry],
    output:
        costs=report(
            f"{RESULTS}/costs.tsv",
            caption="../report/costs.rst",
            category="Tables",
            labels={"table": "costs"},
        ),
    log:
        f"{LOGS}/costs.log",
    conda:
        ENVIRONMENT
    params:
        cfg=json.dumps(cost_runs(), sort_keys=True),
        benchmarks=BENCHMARKS,
        # The size of a file depends on how many videos share it; the digest of all rows does not.
        shards=f"shards:{len(SHARDS)}",
        sig=lambda wildcards: index_sig(*[str(Path(index).parent) for index in INDEXES]),
        code=code("costs"),
    script:
        "../scripts/costs.py"


rule summary:
    input:
        indexes=ancient(INDEXES),
        metrics=[f"{run}/metrics.json" for run in RUNS],
    output:
        summary=report(
            f"{RESULTS}/summary.tsv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary"},
        ),
    log:
        f"{LOGS}/summary.log",
    conda:
        ENVIRONMENT
    params:
        cfg=json.dumps(RUNS),
        code=code("summary"),
    script:
        "../scripts/summary.py"
