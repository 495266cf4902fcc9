"""The rules of the workflow by name, and the plan that they make of a configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moclip.core.code_digest import script_digests
from moclip.dataset.manifest import dataset_signature
from moclip.workflow import feature_rules, run_rules, table_rules
from moclip.workflow.plan import Plan, Rule
from moclip.workflow.signatures import PENDING, Contents

RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        feature_rules.demo_dataset,
        feature_rules.manifest,
        feature_rules.motion_shard,
        feature_rules.motion_index,
        feature_rules.appearance_shard,
        feature_rules.appearance_index,
        feature_rules.text,
        feature_rules.motion_network,
        feature_rules.motion_network_curve,
        feature_rules.motion_embedding_shard,
        feature_rules.motion_embedding_index,
        run_rules.head,
        run_rules.evaluate,
        table_rules.comparisons,
        table_rules.summary,
        table_rules.costs,
        table_rules.rejects,
        table_rules.motion_pictures,
        table_rules.datacard,
        table_rules.mistakes,
        table_rules.report,
    )
}


def build_plan(
    config: Mapping[str, Any], *, code: Callable[[str], str] = str, listing: Callable[[], str] = str
) -> Plan:
    """Return the plan of a checked configuration.

    `code` and `listing` are those of `Plan`; without them it has the right files, and params without these parts.
    """
    contents = Contents(config["cache_dir"])
    return Plan(config, rules=RULES, code=code, listing=listing, contents=contents)


def open_plan(config: Mapping[str, Any], *, scripts: Path, listing: str | None = None) -> Plan:
    """Return the plan of a checked configuration whose rules run the scripts of a folder.

    `listing` is the digest of the dataset's listing where the caller has it, as `manifest.dataset_signature` gives it.
    """
    digests = script_digests(scripts, memo=Path(config["cache_dir"], "code"))

    def sign_listing() -> str:
        if listing is None and plan.complete and not Path(plan.complete).is_file():
            return PENDING  # rendered videos that do not exist yet
        return f"sig:{listing or dataset_signature(plan.settings.dataset)}"

    plan = build_plan(config, code=lambda rule: f"code:{digests[rule]}", listing=sign_listing)
    return plan
