# The motion network of each split and seed, and the embeddings it gives once it is frozen.
rule motion_network:
    input:
        manifest=ancient(MANIFEST),
        motion=lambda wildcards: index_of(motion_folder(wildcards.variant)),
        weights=lambda wildcards: weight_files(CONFIG["motion_network"][wildcards.variant]["weights"]),
    output:
        model=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/model.safetensors",
        history=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/history.tsv",
    log:
        f"{LOGS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: network_threads(wildcards.variant)
    resources:
        runtime=lambda wildcards, attempt: minutes(training_seconds(wildcards), attempt),
        mem_mb=lambda wildcards, attempt: mem_mb(8000 + batch_mb(wildcards), 0.2, num_videos(), attempt),
        gpu=lambda wildcards: network_gpus(wildcards.variant),
    params:
        cfg=lambda wildcards: training_cfg(wildcards.variant),
        sig=lambda wildcards: split_sig(wildcards.split, LEARNED),
        classes=lambda wildcards: classes_sig(),
        motion=lambda wildcards: subset_sig(wildcards.split, LEARNED, [motion_folder(wildcards.variant)]),
        code=code("motion_network"),
    script:
        "../scripts/motion_network.py"


# A rule of its own: another way of drawing trains no network.
rule motion_network_curve:
    input:
        history=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/history.tsv",
    output:
        curve=report(
            f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/curve.svg",
            caption="../report/curve.rst",
            category="Motion networks",
            labels={"plot": "{variant}, split {split}, seed {seed}"},
        ),
    log:
        f"{LOGS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}-curve.log",
    conda:
        ENVIRONMENT
    params:
        code=code("motion_network_curve"),
    script:
        "../scripts/motion_network_curve.py"


rule motion_embedding_shard:
    input:
        manifest=ancient(MANIFEST),
        motion=lambda wildcards: index_of(motion_folder(wildcards.variant)),
        model=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/model.safetensors",
    output:
        shard=f"{RESULTS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.h5",
    log:
        f"{LOGS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: network_threads(wildcards.variant)
    resources:
        runtime=lambda wildcards, attempt: minutes(embedding_seconds(wildcards), attempt),
        mem_mb=lambda wildcards, attempt: mem_mb(4000, 2, num_videos(wildcards.shard), attempt),
        gpu=lambda wildcards: network_gpus(wildcards.variant),
    params:
        cfg=lambda wildcards: embedding_cfg(wildcards.variant),
        sig=lambda wildcards: content_sig(motion_folder(wildcards.variant), wildcards.shard),
        code=code("motion_embedding_shard"),
    script:
        "../scripts/motion_embedding_shard.py"


checkpoint motion_embedding_index:
    input:
        manifest=ancient(MANIFEST),
        motion=lambda wildcards: index_of(motion_folder(wildcards.variant)),
        model=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/model.safetensors",
        shards=shard_files(f"{RESULTS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}"),
    output:
        index=f"{RESULTS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/index.json",
    log:
        f"{LOGS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/index.log",
    conda:
        ENVIRONMENT
    params:
        cfg=lambda wildcards: embedding_cfg(wildcards.variant),
        sig=lambda wildcards: index_sig(motion_folder(wildcards.variant)),
        subsets=lambda wildcards: features_sig(["video_id"]),
        code=code("motion_embedding_index"),
    script:
        "../scripts/motion_embedding_index.py"
