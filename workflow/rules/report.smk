# The rejected videos, the data card, pictures of motion and mistakes, and the report.
rule rejects:
    input:
        **inputs("rejects", "indexes"),
    output:
        rejects=report(
            outputs("rejects")["rejects"],
            caption="../report/rejects.rst",
            category="Data",
            labels={"table": "videos left out"},
        ),
    log:
        f"{paths.logs}/rejects.log",
    conda:
        ENVIRONMENT
    params:
        **params("rejects", "cfg", "sig"),
    script:
        "../scripts/rejects.py"


# A few training videos as a motion network sees them: frames, block vectors, fields.
rule motion_pictures:
    input:
        **inputs("motion_pictures", "manifest", "motion"),
    output:
        page=report(
            outputs("motion_pictures")["page"],
            caption="../report/motion_pictures.rst",
            category="Motion networks",
            labels={"page": "pictures of {variant}"},
        ),
    log:
        f"{paths.logs}/motion_pictures/{{variant}}.log",
    conda:
        ENVIRONMENT
    params:
        **params("motion_pictures", "cfg", "sig", "motion"),
    script:
        "../scripts/motion_pictures.py"


rule datacard:
    input:
        **inputs("datacard", "manifest", "near_duplicates", "indexes"),
    output:
        datacard=report(
            outputs("datacard")["datacard"],
            caption="../report/datacard.rst",
            category="Data",
            labels={"page": "data card"},
        ),
        card=outputs("datacard")["card"],
    log:
        f"{paths.logs}/datacard.log",
    conda:
        ENVIRONMENT
    params:
        **params("datacard", "cfg", "sig", "features"),
    script:
        "../scripts/datacard.py"


# Test videos that the first experiment got wrong: a frame with its vectors, the truth, and what each method predicted.
rule mistakes:
    input:
        **inputs("mistakes", "manifest", "predictions", "motion"),
    output:
        **outputs("mistakes"),
    log:
        f"{paths.logs}/mistakes.log",
    conda:
        ENVIRONMENT
    params:
        **params("mistakes", "cfg", "experiment", "sig", "motion", "reads"),
    script:
        "../scripts/mistakes.py"


rule report:
    input:
        **inputs(
            "report",
            "manifest",
            "rejects",
            "summary",
            "comparisons",
            "gains",
            "costs",
            "datacard",
            "metrics",
            "networks",
            "mistakes",
        ),
    output:
        report=report(
            outputs("report")["report"],
            caption="../report/report.rst",
            category="Results",
            labels={"page": "all results"},
        ),
        png=[
            report(file, caption="../report/figure.rst", category="Figures", labels={"figure": Path(file).stem})
            for file in plan.job("report").also["png"]
        ],
        pdf=plan.job("report").also["pdf"],
        numbers=plan.job("report").also["numbers"],
    log:
        f"{paths.logs}/report.log",
    conda:
        ENVIRONMENT
    params:
        **params("report", "cfg", "order", "sig", "features", "heads", "reads", "pages"),
    script:
        "../scripts/report.py"
