# What was left out and why, and the page that shows it all.
rule rejects:
    input:
        motion=lambda wildcards: [motion_index(variant) for variant in list_used(CONFIG, "motion")],
        appearance=lambda wildcards: [appearance_index(variant) for variant in list_used(CONFIG, "appearance")],
    output:
        rejects=f"{RESULTS}/rejects.tsv",
    params:
        code=code("rejects"),
    log:
        f"{LOGS}/rejects.log",
    script:
        "../scripts/rejects.py"


rule report:
    input:
        manifest=ancient(f"{RESULTS}/manifest.tsv"),
        rejects=f"{RESULTS}/rejects.tsv",
        summary=f"{RESULTS}/summary.tsv",
        metrics=lambda wildcards: gated([f"{run}/metrics.json" for run in RUNS]),
        heads=lambda wildcards: gated([f"{run}/history.tsv" for run in RUNS]),
        networks=[f"{RESULTS}/motion_network/{network}/history.tsv" for network in NETWORKS],
    output:
        report=f"{RESULTS}/report.html",
    params:
        cfg=json.dumps(CONFIG, sort_keys=True),
        sig=lambda wildcards: table_sig(["video_id", "class_name", "split_1"]),
        code=code("report"),
    log:
        f"{LOGS}/report.log",
    script:
        "../scripts/report.py"
