"""Commands about the cache: `moclip explain`, `verify`, `cache` and `plan`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cli.formatting import add_command
from moclip.config.settings import Settings
from moclip.config.validation import check_config, merge_configs
from moclip.core.files import read_yaml

if TYPE_CHECKING:
    from moclip.workflow.estimate import CostPlan


_CONFIG = Path("config/config.yaml")

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
  moclip cache --configfile one.yaml other.yaml --remove-unused

Lists the size of each kind of content: pools (rows of one extractor with one set of parameters), networks, heads, class
embeddings, scores, and indexes of frames to search in. {_HERE}
"""

_PLAN = f"""\
examples:
  moclip plan
  moclip plan --configfile mine.yaml

Counts the rows that the cache lacks, with their time and size. Computes nothing. {_HERE}
"""


# The modules behind these commands are imported when one runs: HDF5, FFmpeg and pandas take most of a second.


def add_cache_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `explain`, `verify`, `cache` and `plan` to the commands of a parser."""
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
    _add_config(cache, meaning="one or several configurations, one file each")
    summary = "estimate the next run: videos, frames, minutes, GB"
    _add_config(add_command(commands, "plan", summary=summary, text=_PLAN, run=_plan))


def _add_config(parser: argparse.ArgumentParser, *, meaning: str = "the configuration, as for snakemake") -> None:
    parser.add_argument(
        "--configfile",
        type=Path,
        metavar="FILE",
        default=[_CONFIG],
        nargs="+",
        help=f"{meaning} (default: {_CONFIG})",
    )


def load_config(paths: Sequence[Path]) -> Settings:
    """Return the settings of some files, merged as the workflow merges them: a later file wins.

    Raises:
        ConfigError: A key or value is wrong, or a file is missing or is not YAML.
    """
    from moclip.workflow.shipped import find_shipped  # noqa: PLC0415

    # The project's folder, where the library is installed from it; paths that exist nowhere stay as they are.
    home = Path(__file__).resolve().parents[3]
    return find_shipped(check_config(merge_configs(map(read_yaml, paths))), home=home)


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

    configs = [load_config([path]) for path in options.configfile]
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

    print(_format_plan(plan_cost(load_config(options.configfile))))


def _format_plan(plan: "CostPlan") -> str:
    frames = "frames not known before the first decode" if plan.num_frames is None else f"{plan.num_frames:,} frames"
    lines = [f"{plan.num_videos:,} videos ({plan.num_new:,} new or changed), {frames}"]
    for stage in plan.stages:
        cost = f"{stage.seconds / 60:8.1f} min  {stage.num_bytes / 1e9:7.3f} GB  {stage.rate}"
        lines.append(f"{stage.num_missing:>8,} of {stage.num_videos:,} rows  {cost}  {stage.name}")
    total = f"{plan.seconds / 60:.1f} min on one core, {plan.num_bytes / 1e9:.3f} GB, training aside"
    return "\n".join([*lines, total])
