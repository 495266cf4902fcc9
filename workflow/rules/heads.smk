# The heads of a run: the only thing that is trained on cached features.
rule head:
    input:
        manifest=ancient(f"{RESULTS}/manifest.tsv"),
        motion=run_motion,
        appearance=run_appearance,
    output:
        head=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.safetensors",
        history=f"{RESULTS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/history.tsv",
    params:
        cfg=lambda wildcards: head_cfg(wildcards.experiment),
        sig=lambda wildcards: split_sig(wildcards.split, ["train", "val"]),
        code=code("head"),
    log:
        f"{LOGS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.log",
    benchmark:
        f"{BENCHMARKS}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/head.tsv"
    script:
        "../scripts/head.py"
