"""Commands about the cache and the cost of runs: `moclip explain`, `verify`, `cache`, `plan` and `estimate`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cli.formatting import add_command
from moclip.config.settings import Settings
from moclip.config.validation import check_config, merge_configs
from moclip.core.files import read_yaml
from moclip.errors import MoclipError

if TYPE_CHECKING:
    from moclip.workflow.estimate import CostPlan


_CONFIG = Path("config/config.yaml")

# The project's folder, where the library is installed from it.
_HOME = Path(__file__).resolve().parents[3]

_HERE = "Run it in the folder that the workflow runs in."

_EXPLAIN = f"""\
examples:
  moclip explain results/demo/report.html
  moclip explain results/mine/summary.tsv --configfile mine.yaml

Starts a dry run of the workflow and explains its output. {_HERE}
"""

_VERIFY = f"""\
examples:
  moclip verify
  moclip verify --configfile mine.yaml --fix && snakemake --cores 4 --configfile mine.yaml

Names every result, row and artifact of the cache that is stale, missing, foreign or damaged. {_HERE}
exit code: 0 all in order, or fixed, 1 something was found, 2 the command is wrong
"""

_CACHE = f"""\
examples:
  moclip cache
  moclip cache --configfile one.yaml --configfile other.yaml my-paths.yaml --remove-unused

Lists the size of each kind of content: pools (rows of one extractor with one set of parameters), networks, heads, class
embeddings, scores, and indexes of frames to search in. Repeat --configfile to name several configurations. {_HERE}
"""

_PLAN = f"""\
examples:
  moclip plan
  moclip plan --configfile mine.yaml

Lists the jobs that the next run starts, the rows and models that they compute, their processor time and size. Asks the
cache by content, so that renamed videos and variants cost nothing. Reads new videos once, and computes nothing. {_HERE}
"""

_ESTIMATE = """\
examples:
  moclip estimate --configfile config/ucf101.yaml config/ucf101-l14.yaml
  moclip estimate --configfile config/hmdb51.yaml --videos 6766

Prints hours and gigabytes of each stage of a whole run, as if nothing were cached. Needs neither videos nor weights.
The last column has the basis: the rate measured on this machine, else multiply-accumulates (MACs) over an assumed rate.
One GPU is assumed to be as fast as 100 cores. `moclip plan` counts only what the cache lacks.
"""


# The modules behind these commands are imported when one runs: HDF5, FFmpeg and pandas take most of a second.


def add_cache_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `explain`, `verify`, `cache`, `plan` and `estimate` to the commands of a parser."""
    summary = "explain why a file is stale or fresh: the key, input or code, old and new value"
    explain = add_command(commands, "explain", summary=summary, text=_EXPLAIN, run=_explain)
    explain.add_argument("target", help="a file that the workflow makes, such as results/demo/report.html")
    explain.add_argument("--configfile", type=Path, nargs="+", metavar="FILE", help="as for snakemake")
    explain.add_argument("--snakefile", type=Path, help="as for snakemake")
    summary = "read all results and the cache against manifest, keys and digests"
    verify = add_command(commands, "verify", summary=summary, text=_VERIFY, run=_verify)
    verify.add_argument("--fix", action="store_true", help="remove them; the next run makes them again")
    _add_config(verify)
    summary = "list the contents of the cache, their sizes, and unused parts"
    cache = add_command(commands, "cache", summary=summary, text=_CACHE, run=_cache)
    meaning = "remove parts that no experiment of the named configurations uses; name all that share the cache"
    cache.add_argument("--remove-unused", action="store_true", help=meaning)
    meaning = f"a configuration, as for snakemake; once for each (default: {_CONFIG})"
    cache.add_argument(
        "--configfile", type=Path, metavar="FILE", dest="configfiles", action="append", nargs="+", help=meaning
    )
    summary = "list the jobs of the next run, with rows and models to compute, processor time and size"
    plan = add_command(commands, "plan", summary=summary, text=_PLAN, run=_plan)
    plan.add_argument("--snakefile", type=Path, help="as for snakemake")
    _add_config(plan)
    summary = "estimate hours and GB of a whole run, without videos or weights"
    estimate = add_command(commands, "estimate", summary=summary, text=_ESTIMATE, run=_estimate)
    estimate.add_argument(
        "--videos", type=int, metavar="N", dest="num_videos", help="number of videos (default: in lists)"
    )
    _add_config(estimate)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configfile",
        type=Path,
        metavar="FILE",
        default=[_CONFIG],
        nargs="+",
        help=f"the configuration, as for snakemake (default: {_CONFIG})",
    )


def load_config(paths: Sequence[Path]) -> Settings:
    """Return the settings of some files, merged as the workflow merges them: a later file wins.

    Raises:
        ConfigError: A key or value is wrong, or a file is missing or is not YAML.
    """
    from moclip.workflow.shipped import find_shipped  # noqa: PLC0415

    return find_shipped(check_config(merge_configs(map(read_yaml, paths))), home=_HOME)


def _explain(options: argparse.Namespace) -> None:
    from moclip.workflow.explain import explain_target  # noqa: PLC0415

    arguments = ["--snakefile", str(options.snakefile)] if options.snakefile else []
    # After `--`: the option of the engine takes any number of files and would swallow the target.
    arguments += ["--configfile", *map(str, options.configfile)] if options.configfile else []
    print(explain_target(options.target, arguments=[*arguments, "--"] if options.configfile else arguments))


def _verify(options: argparse.Namespace) -> None:
    from moclip.workflow.verify import fix, format_verification, verify  # noqa: PLC0415

    settings = load_config(options.configfile)
    verification = verify(settings)
    print(format_verification(verification))
    if options.fix:
        for line in fix(settings, findings=verification.findings):
            print(line)
    elif verification.findings:
        sys.exit(1)


def _cache(options: argparse.Namespace) -> None:
    from moclip.workflow.check import list_orphans, remove_orphans  # noqa: PLC0415
    from moclip.workflow.plan import Plan  # noqa: PLC0415
    from moclip.workflow.usage import format_parts, list_parts, remove_unused  # noqa: PLC0415

    configs = [load_config(paths) for paths in options.configfiles or [[_CONFIG]]]
    orphans = list_orphans([Plan(settings) for settings in configs])
    if orphans:
        print(f"results: {len(orphans)} files that belong to no experiment, such as {orphans[0]}")
    if options.remove_unused and orphans:
        print("\n".join(remove_orphans(orphans)))
    for folder in sorted({Path(settings.cache_dir) for settings in configs}):
        parts = list_parts(folder, configs=[settings for settings in configs if Path(settings.cache_dir) == folder])
        print(f"{folder}:", format_parts(parts), sep="\n")
        if options.remove_unused:
            print("\n".join(remove_unused(parts)) or "nothing to remove")


def _plan(options: argparse.Namespace) -> None:
    from moclip.workflow.estimate import plan_cost  # noqa: PLC0415
    from moclip.workflow.plan import open_plan  # noqa: PLC0415

    home = options.snakefile.parent if options.snakefile else _HOME
    scripts = home / "workflow/scripts"
    if not scripts.is_dir():
        raise MoclipError(f"{scripts}: expected the scripts of the workflow; name its Snakefile with --snakefile")
    settings = load_config(options.configfile)
    plan = plan_cost(lambda expected: open_plan(settings, scripts=scripts, expected=expected))
    print("\n".join(_format_plan(plan)))


def _format_plan(plan: "CostPlan") -> Iterator[str]:
    if plan.num_videos is None:
        yield "the videos are rendered first: rows, networks and heads are counted once they exist"
    else:
        frames = "frames not known before the first decode"
        if plan.num_frames is not None:
            frames = f"{'about ' if plan.num_uncounted else ''}{plan.num_frames:,} frames"
        yield f"{plan.num_videos:,} videos ({plan.num_new:,} with new content), {frames}"
    if not plan.rules:
        yield "nothing to be done"
        return
    num_jobs, num_certain = int(plan.total("num_jobs")), int(plan.total("num_certain"))
    yield f"the next run starts {_range(num_certain, num_jobs)} jobs:"
    yield f"{'jobs':>11}  {'rule':<22}  {'computes':>9}  {'seconds':>9}  {'to start':>9}  {'disk':>9}"
    for cost in plan.rules:
        cells = [f"{_range(cost.num_certain, cost.num_jobs):>11}", f"{cost.rule:<22}", f"{cost.num_made or '':>9}"]
        cells += [f"{seconds:>9,.1f}" for seconds in (cost.seconds, cost.start_seconds)]
        yield "  ".join([*cells, f"{_size(cost.num_bytes):>9}", cost.source]).rstrip()
    if plan.num_videos is None:
        return
    compute, start = plan.total("seconds"), plan.total("start_seconds")
    size = _size(plan.total("num_bytes")) or "nothing"
    yield f"{compute / 60:.1f} min of processor time, {start / 60:.1f} min to start the jobs, {size} of new features"
    if num_certain < num_jobs:
        yield (
            "2 to 4: two start in any case, the others if what is computed before them differs from the present "
            "results, as after a training; computes and seconds are those of the most"
        )


def _range(least: int, most: int) -> str:
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def _size(num_bytes: float) -> str:
    from moclip.workflow.usage import format_size  # noqa: PLC0415

    return format_size(num_bytes) if num_bytes else ""


def _estimate(options: argparse.Namespace) -> None:
    from moclip.workflow.budget import count_videos, list_budgets  # noqa: PLC0415

    if options.num_videos is not None and options.num_videos < 1:
        raise MoclipError(f"--videos: expected at least 1, found {options.num_videos}")
    settings = load_config(options.configfile)
    videos = count_videos(settings.dataset, num_videos=options.num_videos)
    print(f"{videos.num_all:,} videos ({videos.source}), {videos.num_train:,} to train on per split")
    stages = list(list_budgets(settings, videos=videos))
    width = max(len(stage.name) for stage in stages)
    print(f"{'core hours':>10}  {'GPU hours':>9}  {'GB':>8}  {'stage':<{width}}  basis")
    for stage in stages:
        gpu = "-" if stage.gpu_hours is None else f"{stage.gpu_hours:,.2f}"
        cells = f"{stage.core_hours:>10,.2f}  {gpu:>9}  {stage.num_bytes / 1e9:>8,.2f}"
        print(f"{cells}  {stage.name:<{width}}  {stage.basis}")
    on_core, size = sum(stage.core_hours for stage in stages), sum(stage.num_bytes for stage in stages) / 1e9
    rest = sum(stage.core_hours for stage in stages if stage.gpu_hours is None)
    on_gpu = sum(stage.gpu_hours for stage in stages if stage.gpu_hours is not None)
    print(f"total: {on_core:,.1f} h of a core, or {on_gpu:,.1f} h of a GPU and {rest:,.1f} h of a core; {size:,.2f} GB")
