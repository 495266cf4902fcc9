# Class embeddings from prompts.
checkpoint text:
    input:
        **inputs("text", "manifest"),
    output:
        **outputs("text"),
    log:
        f"{paths.logs}/text/{{variant}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda wildcards, attempt: resource.mem_mb(6000, attempt),
        gpu=lambda wildcards: resource.text_gpus(wildcards.variant),
    params:
        **params("text", "cfg", "encoder", "sig"),
    script:
        "../scripts/text.py"
