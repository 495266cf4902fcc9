# Motion vectors of every frame, one decode per video.
rule motion_shard:
    input:
        **inputs("motion_shard", "manifest"),
    output:
        **outputs("motion_shard"),
    log:
        f"{paths.logs}/motion/{{variant}}/shard-{{shard}}.log",
    benchmark:
        f"{paths.benchmarks}/motion/{{variant}}/shard-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **asks("motion_shard"),
    params:
        **params("motion_shard", "cfg", "sig"),
    script:
        "../scripts/motion_shard.py"


checkpoint motion_index:
    input:
        **inputs("motion_index", "manifest", "shards"),
    output:
        **outputs("motion_index"),
    log:
        f"{paths.logs}/motion/{{variant}}/index.log",
    conda:
        ENVIRONMENT
    params:
        **params("motion_index", "cfg", "sig"),
    script:
        "../scripts/motion_index.py"
