# The videos, their classes, fingerprints, shards and splits.
# The demo writes `videos` and `lists` beside this file, which says that they are complete.
COMPLETE = str(Path(DATASET["root"]).parent / "complete.json")


if DATASET["generate"] == "demo":

    checkpoint demo_dataset:
        output:
            complete=COMPLETE,
        log:
            f"{LOGS}/demo_dataset.log",
        conda:
            ENVIRONMENT
        threads: workflow.cores
        params:
            cfg=json.dumps({"root": DATASET["root"], "lists": DATASET["lists"]}, sort_keys=True),
            code=code("demo_dataset"),
        script:
            "../scripts/demo_dataset.py"


def dataset_sig(wildcards):
    """The digest of the dataset's listing; of videos that are made here, once they are there."""
    if LISTING is not None:
        return f"sig:{LISTING}"
    return f"sig:{dataset_signature(DATASET)}" if Path(COMPLETE).is_file() else PENDING


def manifest_cfg():
    """What the manifest reads: nothing of what is done with bad videos, or of where the videos are kept."""
    others = {"root", "on_bad_video", "limits", "rejected_test_videos"}
    return json.dumps({"dataset": {key: DATASET[key] for key in DATASET if key not in others}}, sort_keys=True)


checkpoint manifest:
    input:
        [COMPLETE] if DATASET["generate"] == "demo" else [],
    output:
        manifest=MANIFEST,
    log:
        f"{LOGS}/manifest.log",
    conda:
        ENVIRONMENT
    params:
        cfg=manifest_cfg(),
        sig=dataset_sig,
        code=code("manifest"),
    script:
        "../scripts/manifest.py"
