# Class embeddings from prompts.
rule text:
    input:
        manifest=ancient(MANIFEST),
        prompts=lambda wildcards: prompt_files(wildcards.variant),
        weights=lambda wildcards: encoder_files(CONFIG["text"][wildcards.variant]["appearance"]),
    output:
        classes=f"{RESULTS}/text/{{variant}}/class_embeddings.safetensors",
    log:
        f"{LOGS}/text/{{variant}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda wildcards, attempt: mem_mb(6000, 0, 0, attempt),
        gpu=lambda wildcards: encoder_gpus(CONFIG["text"][wildcards.variant]["appearance"]),
    params:
        cfg=lambda wildcards: cfg(
            "text",
            wildcards.variant,
            encoder=encoder_cfg(CONFIG["text"][wildcards.variant]["appearance"]),
        ),
        sig=lambda wildcards: classes_sig(),
        code=code("text"),
    script:
        "../scripts/text.py"
