# The videos, their classes, fingerprints, shards and splits.
if plan.complete:

    # The job writes `videos` and `lists` next to this file, which says that they are complete.
    checkpoint demo_dataset:
        output:
            complete=plan.complete,
        log:
            f"{paths.logs}/demo_dataset.log",
        conda:
            ENVIRONMENT
        threads: threads_of("demo_dataset")
        params:
            **params("demo_dataset", "cfg"),
        script:
            "../scripts/demo_dataset.py"


checkpoint manifest:
    input:
        **inputs("manifest", "complete"),
    output:
        **outputs("manifest"),
    log:
        f"{paths.logs}/manifest.log",
    conda:
        ENVIRONMENT
    params:
        **params("manifest", "cfg", "sig"),
    script:
        "../scripts/manifest.py"
