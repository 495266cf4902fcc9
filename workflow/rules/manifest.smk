# The videos, their classes, fingerprints, shards and splits.
if DATASET["generate"] == "demo":

    checkpoint demo_dataset:
        output:
            complete=f"{DATASET['root']}/../complete.json",
        params:
            cfg=json.dumps({"root": DATASET["root"], "lists": DATASET["lists"]}, sort_keys=True),
            code=code("demo_dataset"),
        log:
            f"{LOGS}/demo_dataset.log",
        threads: workflow.cores
        script:
            "../scripts/demo_dataset.py"


def dataset_sig(wildcards):
    """The digest of the dataset's listing; waits for videos that are made here."""
    if DATASET["generate"] == "demo":
        checkpoints.demo_dataset.get()
    return f"sig:{dataset_signature(DATASET)}"


checkpoint manifest:
    input:
        [f"{DATASET['root']}/../complete.json"] if DATASET["generate"] == "demo" else [],
    output:
        manifest=f"{RESULTS}/manifest.tsv",
    params:
        cfg=cfg("dataset"),
        sig=dataset_sig,
        code=code("manifest"),
    log:
        f"{LOGS}/manifest.log",
    script:
        "../scripts/manifest.py"
