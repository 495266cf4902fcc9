#!/bin/bash
# The main process as a job of its own, for clusters that end long processes on the login node:
#   sbatch workflow/profiles/slurm/main.sh --configfile mine.yaml
# It submits the other jobs and computes nothing. `scancel` and its own time limit stop it as Ctrl-C does: it cancels the
# jobs it has submitted and frees the folder, and the same command goes on from there. docs/cluster.md has more.
#SBATCH --job-name=moclip
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=1-00:00:00
#SBATCH --output=moclip-%j.log

# Slurm asks with SIGTERM, which Snakemake takes as a wish to wait for its jobs, and kills it half a minute later.
stop() { kill -INT "$main" 2> /dev/null; }
trap stop INT TERM
set -m # or bash would start it deaf to SIGINT
"${SNAKEMAKE:-.venv/bin/snakemake}" --workflow-profile workflow/profiles/slurm "$@" &
main=$!
wait "$main"
code=$?
# A signal ends the first `wait` and not what it waits for.
while kill -0 "$main" 2> /dev/null; do
    wait "$main"
    code=$?
done
exit "$code"
