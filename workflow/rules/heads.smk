# The heads of a run: the only thing that is trained on cached features. One job trains those of a whole batch, on features
# that are read once. A checkpoint: the index holds a digest of each run's heads, and what is below depends on that digest,
# so that one run more, or another setting of one of them, tests no other run again.
for (batch, split), runs in batches().items():

    checkpoint:
        name:
            batch_rule(batch, split)
        input:
            manifest=ancient(MANIFEST),
            indexes=ancient([f"{folder}/index.json" for folder in batch_indexes(runs)]),
            models=batch_models(runs),
        output:
            index=heads_index(runs[0].experiment, split),
            heads=[f"{run_folder(run)}/head.safetensors" for run in runs],
            histories=[f"{run_folder(run)}/history.tsv" for run in runs],
        log:
            f"{LOGS}/heads/{batch}/split-{split}/head.log",
        benchmark:
            f"{BENCHMARKS}/heads/{batch}/split-{split}/head.tsv"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=lambda wildcards, attempt: mem_mb(3000, 0.05, num_videos(), attempt),
        params:
            cfg=batch_runs(runs),
            split=f"split:{split}",
            sig=lambda wildcards, split=split: split_sig(split, LEARNED),
            classes=lambda wildcards: classes_sig(),
            features=lambda wildcards, split=split, runs=runs: subset_sig(split, LEARNED, batch_indexes(runs)),
            code=code("head"),
        script:
            "../scripts/head.py"
