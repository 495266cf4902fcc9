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
        **asks("text"),
    params:
        **params("text", "cfg", "encoder", "sig"),
    script:
        "../scripts/text.py"
