# Embeddings of chosen frames from a frozen image tower.
rule appearance_shard:
    input:
        **inputs("appearance_shard", "manifest", "motion"),
    output:
        **outputs("appearance_shard"),
    log:
        f"{paths.logs}/appearance/{{variant}}/shard-{{shard}}.log",
    benchmark:
        f"{paths.benchmarks}/appearance/{{variant}}/shard-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("appearance_shard")
    resources:
        **asks("appearance_shard"),
    params:
        **params("appearance_shard", "cfg", "sig", "encoder", "motion"),
    script:
        "../scripts/appearance_shard.py"


checkpoint appearance_index:
    input:
        **inputs("appearance_index", "manifest", "motion", "shards"),
    output:
        **outputs("appearance_index"),
    log:
        f"{paths.logs}/appearance/{{variant}}/index.log",
    conda:
        ENVIRONMENT
    params:
        **params("appearance_index", "cfg", "sig", "encoder", "motion"),
    script:
        "../scripts/appearance_index.py"
