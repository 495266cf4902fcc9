# The motion network of each split and seed, and the embeddings it gives once it is frozen.
rule motion_network:
    input:
        manifest=ancient(f"{RESULTS}/manifest.tsv"),
        motion=lambda wildcards: motion_index(CONFIG["motion_network"][wildcards.variant]["motion"]),
        weights=lambda wildcards: weight_files(CONFIG["motion_network"][wildcards.variant]["weights"]),
    output:
        model=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/model.safetensors",
        history=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/history.tsv",
    params:
        cfg=lambda wildcards: training_cfg(wildcards.variant),
        sig=lambda wildcards: split_sig(wildcards.split, ["train", "val"]),
        code=code("motion_network"),
    log:
        f"{LOGS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}.tsv"
    threads: lambda wildcards: CONFIG["motion_network"][wildcards.variant]["threads"]
    resources:
        gpu=lambda wildcards: int(CONFIG["motion_network"][wildcards.variant]["device"] != "cpu"),
    script:
        "../scripts/motion_network.py"


rule motion_embedding_shard:
    input:
        motion=lambda wildcards: ancient(motion_index(CONFIG["motion_network"][wildcards.variant]["motion"])),
        model=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/model.safetensors",
    output:
        shard=f"{RESULTS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.h5",
    params:
        cfg=lambda wildcards: embedding_cfg(wildcards.variant),
        sig=lambda wildcards: content_sig(
            motion_index(CONFIG["motion_network"][wildcards.variant]["motion"]), wildcards.shard
        ),
        code=code("motion_embedding_shard"),
    log:
        f"{LOGS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/shard-{{shard}}.tsv"
    threads: lambda wildcards: CONFIG["motion_network"][wildcards.variant]["threads"]
    resources:
        gpu=lambda wildcards: int(CONFIG["motion_network"][wildcards.variant]["device"] != "cpu"),
    script:
        "../scripts/motion_embedding_shard.py"


checkpoint motion_embedding_index:
    input:
        motion=lambda wildcards: motion_index(CONFIG["motion_network"][wildcards.variant]["motion"]),
        model=f"{RESULTS}/motion_network/{{variant}}/split-{{split}}/seed-{{seed}}/model.safetensors",
        shards=shard_files(f"{RESULTS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}"),
    output:
        index=f"{RESULTS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/index.json",
    params:
        cfg=lambda wildcards: embedding_cfg(wildcards.variant),
        code=code("motion_embedding_index"),
    log:
        f"{LOGS}/motion_embedding/{{variant}}/split-{{split}}/seed-{{seed}}/index.log",
    script:
        "../scripts/motion_embedding_index.py"
