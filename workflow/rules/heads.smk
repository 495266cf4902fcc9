from moclip.workflow.run_rules import batch_rule, list_batches

# The heads of a run: the only thing that is trained on cached features. One job trains those of a whole batch, on features
# that are read once. A checkpoint: the index holds a digest of each run's heads, and what is below depends on that digest,
# so that one run more, or another setting of one of them, tests no other run again.
for batch, split in list_batches(plan):

    checkpoint:
        name:
            batch_rule(batch, split)
        input:
            **inputs("head", "manifest", "indexes", "models", batch=batch, split=split),
        output:
            **plan.job("head", batch=batch, split=split).outputs,
            **plan.job("head", batch=batch, split=split).also,
        log:
            f"{paths.logs}/heads/{batch}/split-{split}/head.log",
        benchmark:
            f"{paths.benchmarks}/heads/{batch}/split-{split}/head.tsv"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=lambda wildcards, attempt: resource.mem_mb(3000, attempt, each=0.05),
        params:
            **params("head", "cfg", "split", "sig", "classes", "features", "models", batch=batch, split=split),
        script:
            "../scripts/head.py"
