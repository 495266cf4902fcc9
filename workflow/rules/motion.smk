# Motion vectors of every frame, one decode per video.
rule motion_shard:
    input:
        manifest=ancient(MANIFEST),
    output:
        shard=f"{RESULTS}/motion/{{variant}}/shard-{{shard}}.h5",
    log:
        f"{LOGS}/motion/{{variant}}/shard-{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/motion/{{variant}}/shard-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=lambda wildcards, attempt: minutes(motion_seconds(wildcards), attempt),
        mem_mb=lambda wildcards, attempt: decoding_mb(1000, 2, num_videos(wildcards.shard), attempt),
    params:
        cfg=lambda wildcards: cfg("motion", wildcards.variant, **decode_cfg()),
        sig=lambda wildcards: shard_sig(wildcards.shard),
        code=code("motion_shard"),
    script:
        "../scripts/motion_shard.py"


checkpoint motion_index:
    input:
        manifest=ancient(MANIFEST),
        shards=shard_files(f"{RESULTS}/motion/{{variant}}"),
    output:
        index=f"{RESULTS}/motion/{{variant}}/index.json",
    log:
        f"{LOGS}/motion/{{variant}}/index.log",
    conda:
        ENVIRONMENT
    params:
        cfg=lambda wildcards: cfg("motion", wildcards.variant),
        sig=lambda wildcards: features_sig(),
        code=code("motion_index"),
    script:
        "../scripts/motion_index.py"
