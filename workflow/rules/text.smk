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
    params:
        cfg=lambda wildcards: cfg(
            "text",
            wildcards.variant,
            encoder=CONFIG["appearance"][CONFIG["text"][wildcards.variant]["appearance"]],
        ),
        sig=lambda wildcards: table_sig(["class_name", "class_index"]),
        code=code("text"),
    script:
        "../scripts/text.py"
