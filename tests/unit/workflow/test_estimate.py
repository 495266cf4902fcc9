"""The estimate of a first run, before there are videos and before there are results."""

from pathlib import Path

import pytest

from moclip.cli.cache import load_config
from moclip.workflow.estimate import plan_cost
from moclip.workflow.plan import Plan, open_plan


def test_the_plan_of_the_demo_before_its_videos_are_rendered_has_all_jobs(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_config([repository / "config/config.yaml"])

    def open_demo(expected: Path | None) -> Plan:
        return open_plan(settings, scripts=repository / "workflow/scripts", expected=expected)

    plan = plan_cost(open_demo)
    assert plan.num_videos is None
    assert plan.total("num_jobs") == plan.total("num_certain") == len(open_demo(None).jobs)
    assert [cost.rule for cost in plan.rules][:2] == ["demo_dataset", "manifest"]
    assert not Path("results/demo").exists()
