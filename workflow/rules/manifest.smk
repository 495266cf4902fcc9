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


if plan.splits_follow:

    # The table that shards are made from, where splits follow from their features.
    checkpoint videos:
        input:
            **inputs("videos", "complete"),
        output:
            **outputs("videos"),
        log:
            f"{paths.logs}/videos.log",
        conda:
            ENVIRONMENT
        params:
            **params("videos", "cfg", "sig"),
        script:
            "../scripts/videos.py"


# Videos that may show one scene, by their cached features.
checkpoint near_duplicates:
    input:
        **inputs("near_duplicates", "manifest", "appearance", "motion"),
    output:
        near_duplicates=report(
            outputs("near_duplicates")["near_duplicates"],
            caption="../report/near_duplicates.rst",
            category="Data",
            labels={"table": "near-duplicates"},
        ),
    log:
        f"{paths.logs}/near_duplicates.log",
    conda:
        ENVIRONMENT
    params:
        **params("near_duplicates", "cfg", "sig", "features"),
    script:
        "../scripts/near_duplicates.py"


checkpoint manifest:
    input:
        **inputs("manifest", "complete", "near_duplicates"),
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
