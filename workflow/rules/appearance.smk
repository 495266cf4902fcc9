# Embeddings of chosen frames from a frozen image tower.
rule appearance_shard:
    input:
        manifest=ancient(MANIFEST),
        weights=lambda wildcards: encoder_files(wildcards.variant),
        motion=lambda wildcards: followed_index(wildcards.variant),
    output:
        shard=f"{RESULTS}/appearance/{{variant}}/shard-{{shard}}.h5",
    log:
        f"{LOGS}/appearance/{{variant}}/shard-{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/appearance/{{variant}}/shard-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    # Before a GPU frames are the slower part: several are decoded at a time.
    threads: lambda wildcards: 4 if encoder_gpus(wildcards.variant) else CONFIG["appearance"][wildcards.variant]["threads"]
    resources:
        runtime=lambda wildcards, attempt: minutes(appearance_seconds(wildcards), attempt),
        mem_mb=lambda wildcards, attempt: decoding_mb(6000, 2, num_videos(wildcards.shard), attempt),
        gpu=lambda wildcards: encoder_gpus(wildcards.variant),
    params:
        cfg=lambda wildcards: cfg("appearance", wildcards.variant, **decode_cfg()),
        sig=lambda wildcards: shard_sig(wildcards.shard),
        motion=lambda wildcards: followed_sig(wildcards.variant, wildcards.shard),
        code=code("appearance_shard"),
    script:
        "../scripts/appearance_shard.py"


checkpoint appearance_index:
    input:
        manifest=ancient(MANIFEST),
        weights=lambda wildcards: encoder_files(wildcards.variant),
        motion=lambda wildcards: followed_index(wildcards.variant),
        shards=shard_files(f"{RESULTS}/appearance/{{variant}}"),
    output:
        index=f"{RESULTS}/appearance/{{variant}}/index.json",
    log:
        f"{LOGS}/appearance/{{variant}}/index.log",
    conda:
        ENVIRONMENT
    params:
        cfg=lambda wildcards: cfg("appearance", wildcards.variant),
        sig=lambda wildcards: features_sig(),
        motion=lambda wildcards: followed_sig(wildcards.variant),
        code=code("appearance_index"),
    script:
        "../scripts/appearance_index.py"
