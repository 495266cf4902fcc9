# The motion network of each split and seed, and the embeddings it gives once it is frozen.
checkpoint motion_network:
    input:
        **inputs("motion_network", "manifest", "motion"),
    output:
        **outputs("motion_network"),
    log:
        f"{paths.logs}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}.log",
    benchmark:
        f"{paths.benchmarks}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("motion_network")
    resources:
        **asks("motion_network"),
    params:
        **params("motion_network", "cfg", "run", "weights", "sig", "classes", "motion"),
    script:
        "../scripts/motion_network.py"


# A separate rule, so that drawing it in another way trains no network.
rule motion_network_curve:
    input:
        **inputs("motion_network_curve", "history"),
    output:
        curve=report(
            outputs("motion_network_curve")["curve"],
            caption="../report/curve.rst",
            category="Motion networks",
            labels={"plot": "{variant}, split {split}, seed {seed}"},
        ),
    log:
        f"{paths.logs}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}-curve.log",
    conda:
        ENVIRONMENT
    params:
        **params("motion_network_curve", "cfg", "sig"),
    script:
        "../scripts/motion_network_curve.py"


rule motion_embedding_shard:
    input:
        **inputs("motion_embedding_shard", "manifest", "motion", "model"),
    output:
        **outputs("motion_embedding_shard"),
    log:
        f"{paths.logs}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.log",
    benchmark:
        f"{paths.benchmarks}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("motion_embedding_shard")
    resources:
        **asks("motion_embedding_shard"),
    params:
        **params("motion_embedding_shard", "cfg", "sig", "network"),
    script:
        "../scripts/motion_embedding_shard.py"


checkpoint motion_embedding_index:
    input:
        **inputs("motion_embedding_index", "manifest", "motion", "model", "shards"),
    output:
        **outputs("motion_embedding_index"),
    log:
        f"{paths.logs}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/index.log",
    conda:
        ENVIRONMENT
    params:
        **params("motion_embedding_index", "cfg", "sig", "subsets", "network"),
    script:
        "../scripts/motion_embedding_index.py"
