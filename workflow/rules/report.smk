# What was left out and why, what the videos are made of, and the page that shows it all.
rule rejects:
    input:
        indexes=ancient([f"{folder}/index.json" for folder in [*MOTION, *APPEARANCE]]),
    output:
        rejects=report(
            f"{RESULTS}/rejects.tsv",
            caption="../report/rejects.rst",
            category="Data",
            labels={"table": "videos left out"},
        ),
    log:
        f"{LOGS}/rejects.log",
    conda:
        ENVIRONMENT
    params:
        sig=lambda wildcards: index_sig(*MOTION, *APPEARANCE),
        code=code("rejects"),
    script:
        "../scripts/rejects.py"


# A few training videos as a motion network sees them: frames, block vectors, fields.
rule motion_pictures:
    input:
        manifest=ancient(MANIFEST),
        motion=lambda wildcards: index_of(motion_folder(wildcards.variant)),
    output:
        page=report(
            f"{RESULTS}/motion_pictures/{{variant}}.html",
            caption="../report/motion_pictures.rst",
            category="Motion networks",
            labels={"page": "pictures of {variant}"},
        ),
    log:
        f"{LOGS}/motion_pictures/{{variant}}.log",
    conda:
        ENVIRONMENT
    params:
        cfg=lambda wildcards: pictures_cfg(wildcards.variant),
        sig=lambda wildcards: training_sig(network_splits(wildcards.variant)),
        motion=lambda wildcards: pictured_sig(wildcards.variant),
        code=code("motion_pictures"),
    script:
        "../scripts/motion_pictures.py"


rule datacard:
    input:
        manifest=ancient(MANIFEST),
        indexes=ancient([f"{folder}/index.json" for folder in MOTION]),
    output:
        datacard=report(
            f"{RESULTS}/datacard.html",
            caption="../report/datacard.rst",
            category="Data",
            labels={"page": "data card"},
        ),
    log:
        f"{LOGS}/datacard.log",
    conda:
        ENVIRONMENT
    params:
        cfg=json.dumps({"dataset": DATASET["name"], "motion": MOTION}, sort_keys=True),
        sig=lambda wildcards: manifest_sig(),
        features=lambda wildcards: index_sig(*MOTION),
        code=code("datacard"),
    script:
        "../scripts/datacard.py"


# Test videos that the first experiment got wrong: a frame with its vectors, the truth, and what each method said.
rule mistakes:
    input:
        manifest=ancient(MANIFEST),
        predictions=[f"{run}/predictions.tsv" for run in RUNS if Path(run).parts[-3] == MISTAKEN],
        motion=[index_of(folder) for folder in mistaken_motion()],
    output:
        mistakes=f"{RESULTS}/mistakes.json",
    log:
        f"{LOGS}/mistakes.log",
    conda:
        ENVIRONMENT
    params:
        cfg=json.dumps({"number": CONFIG["report"]["mistakes"]}),
        experiment=MISTAKEN,
        sig=lambda wildcards: table_sig(["video_id", "path", "class_name", "fingerprint"]),
        motion=lambda wildcards: index_sig(*mistaken_motion()),
        code=code("mistakes"),
    script:
        "../scripts/mistakes.py"


rule report:
    input:
        manifest=ancient(MANIFEST),
        rejects=f"{RESULTS}/rejects.tsv",
        summary=f"{RESULTS}/summary.tsv",
        comparisons=f"{RESULTS}/comparisons.tsv",
        gains=f"{RESULTS}/class_gains.tsv",
        costs=f"{RESULTS}/costs.tsv",
        datacard=f"{RESULTS}/datacard.html",
        indexes=ancient(INDEXES),
        metrics=[f"{run}/metrics.json" for run in RUNS],
        heads=[f"{run}/history.tsv" for run in RUNS],
        networks=[f"{RESULTS}/motion_network/{network}/history.tsv" for network in NETWORKS],
        mistakes=MISTAKES,
    output:
        report=report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Results",
            labels={"page": "all results"},
        ),
    log:
        f"{LOGS}/report.log",
    conda:
        ENVIRONMENT
    params:
        cfg=json.dumps(CONFIG, sort_keys=True),
        sig=lambda wildcards: table_sig(["video_id", "class_name", "split_1"]),
        code=code("report"),
    script:
        "../scripts/report.py"
