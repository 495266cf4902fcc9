# The test, read once per run, and the tables over all runs.
rule evaluate:
    input:
        **inputs("evaluate", "manifest", "heads", "motion", "appearance", "network", "text"),
    output:
        **outputs("evaluate"),
    log:
        f"{paths.logs}/experiments/{{experiment}}/split-{{split}}/seed-{{seed}}/evaluate.log",
    conda:
        ENVIRONMENT
    resources:
        **asks("evaluate"),
    params:
        **params("evaluate", "cfg", "policy", "sig", "classes", "train", "features", "models", "head"),
    script:
        "../scripts/evaluate.py"


# Which method is better than which on the same videos, and where.
rule comparisons:
    input:
        **inputs("comparisons", "manifest", "predictions"),
    output:
        comparisons=report(
            outputs("comparisons")["comparisons"],
            caption="../report/comparisons.rst",
            category="Tables",
            labels={"table": "methods against each other"},
        ),
        gains=report(
            outputs("comparisons")["gains"],
            caption="../report/gains.rst",
            category="Tables",
            labels={"table": "what fusion adds in each class"},
        ),
    log:
        f"{paths.logs}/comparisons.log",
    conda:
        ENVIRONMENT
    params:
        **params("comparisons", "cfg", "policy", "sig", "reads"),
    script:
        "../scripts/comparisons.py"


# What each method costs: parameters, multiply-accumulates, times and bytes. One run represents its experiment.
rule costs:
    input:
        **inputs("costs", "indexes", "heads", "networks"),
    output:
        costs=report(
            outputs("costs")["costs"],
            caption="../report/costs.rst",
            category="Tables",
            labels={"table": "costs"},
        ),
    log:
        f"{paths.logs}/costs.log",
    conda:
        ENVIRONMENT
    params:
        **params("costs", "cfg", "shards", "sig", "heads", "networks"),
    script:
        "../scripts/costs.py"


rule summary:
    input:
        **inputs("summary", "manifest", "metrics", "predictions"),
    output:
        summary=report(
            outputs("summary")["summary"],
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary"},
        ),
    log:
        f"{paths.logs}/summary.log",
    conda:
        ENVIRONMENT
    params:
        **params("summary", "cfg", "policy", "sig", "reads"),
    script:
        "../scripts/summary.py"
