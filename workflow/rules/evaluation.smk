# The test, read once per run, and the table over all runs.
rule evaluate:
    input:
        manifest=ancient(f"{RESULTS}/manifest.tsv"),
        head=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.safetensors",
        motion=run_motion,
        appearance=run_appearance,
        text=run_text,
    output:
        predictions=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/predictions.tsv",
        metrics=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/metrics.json",
        run=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/run.yaml",
    params:
        cfg=lambda wildcards: run_cfg(wildcards.experiment),
        policy=DATASET["rejected_test_videos"],
        sig=lambda wildcards: split_sig(wildcards.split, ["test"]),
        code=code("evaluate"),
    log:
        f"{LOGS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/evaluate.log",
    script:
        "../scripts/evaluate.py"


rule summary:
    input:
        metrics=lambda wildcards: gated([f"{run}/metrics.json" for run in RUNS]),
    output:
        summary=f"{RESULTS}/summary.tsv",
    params:
        cfg=json.dumps(RUNS),
        code=code("summary"),
    log:
        f"{LOGS}/summary.log",
    script:
        "../scripts/summary.py"
