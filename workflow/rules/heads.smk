# The heads of a run: the only thing that is trained on cached features.
rule head:
    input:
        manifest=ancient(MANIFEST),
        motion=run_index("motion"),
        appearance=run_index("appearance"),
    output:
        head=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.safetensors",
        history=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/history.tsv",
    log:
        f"{LOGS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.log",
    benchmark:
        f"{BENCHMARKS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda wildcards, attempt: mem_mb(3000, 0.05, num_videos(), attempt),
    params:
        cfg=lambda wildcards: head_cfg(wildcards.experiment),
        sig=lambda wildcards: split_sig(wildcards.split, ["train", "val"]),
        features=run_sig,
        code=code("head"),
    script:
        "../scripts/head.py"
