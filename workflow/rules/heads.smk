# The heads of an experiment on one split, with all its seeds: the only thing that is trained on cached features.
# A checkpoint: its file has a digest of the heads of each seed, and a test depends on that digest alone, so that one seed
# more tests no other run again.
checkpoint head:
    input:
        **inputs("head", "manifest", "indexes", "models"),
    output:
        **outputs("head"),
    log:
        f"{paths.logs}/experiments/{{experiment}}/split-{{split}}/head.log",
    benchmark:
        f"{paths.benchmarks}/experiments/{{experiment}}/split-{{split}}/head.tsv"
    conda:
        ENVIRONMENT
    resources:
        **asks("head"),
    params:
        **params("head", "cfg", "sig", "classes", "features", "models"),
    script:
        "../scripts/head.py"
