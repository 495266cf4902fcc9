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
    threads: lambda wildcards: resource.encoder_threads(wildcards.variant)
    resources:
        runtime=lambda wildcards, attempt: resource.minutes(resource.appearance_seconds(wildcards), attempt),
        mem_mb=lambda wildcards, attempt: resource.decoding_mb(6000, attempt, each=2, shard=wildcards.shard),
        gpu=lambda wildcards: resource.encoder_gpus(wildcards.variant),
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
