"""What a user can ask about the cache: `moclip explain`, `verify`, `cache` and `plan`."""

import subprocess
from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, new_checkout, write_clip
from tests.workflow.conftest import Ran

pytestmark = pytest.mark.workflow

HEAD = "results/toy/experiments/fusion/split-1/heads.safetensors"


@pytest.fixture
def checkout(built_checkout: Checkout, tmp_path: Path) -> Checkout:
    return built_checkout.copy(tmp_path / "checkout")


def ask(checkout: Checkout, command: str, *arguments: str) -> Ran:
    checkout.command()  # writes the configuration
    return checkout.moclip(command, *arguments, "--configfile", "config.yaml")


def explain(checkout: Checkout, target: str) -> str:
    checkout.command()
    ran = checkout.moclip(
        "explain", target, "--snakefile", str(checkout.code / "Snakefile"), "--configfile", "config.yaml"
    )
    assert ran.code == 0, ran.output
    return ran.output


def test_explain_names_the_key_with_its_old_and_new_value(checkout: Checkout) -> None:
    assert f"{HEAD}: fresh; the rule head made it on " in explain(checkout, HEAD)
    checkout.config["head"]["mlp"]["learning_rate"] = 0.5
    told = explain(checkout, HEAD)
    assert told.splitlines()[0] == f"{HEAD}: stale; the next run makes it with the rule head, because"
    assert told.splitlines()[1] == "  changed: head.learning_rate: 0.0001 -> 0.5"


def test_explain_says_what_a_file_waits_for(checkout: Checkout) -> None:
    write_clip(checkout.videos / "MovingRight/v0.mp4", number=18)
    told = explain(checkout, HEAD)
    assert f"{HEAD}: not decided yet" in told
    assert "results/toy/manifest.tsv: made again by the rule manifest" in told


def test_verify_finds_and_mends_every_kind_of_fault(checkout: Checkout) -> None:
    assert ask(checkout, "verify").output.splitlines()[-1].endswith(": all in order")
    shards = checkout.results / "motion/original"
    (shards / "shard-1.h5").unlink()
    (shards / "shard-7.h5").write_bytes((shards / "shard-0.h5").read_bytes())
    found = ask(checkout, "verify")
    assert found.code == 1
    assert "missing: results/toy/motion/original/shard-1.h5" in found.output
    assert "foreign: results/toy/motion/original/shard-7.h5" in found.output
    checkout.config["motion"]["original"]["source"] = "auto"
    assert "stale: results/toy/motion/original/shard-0.h5: source: expected 'auto', found 'original'" in (
        ask(checkout, "verify").output
    )
    checkout.config["motion"]["original"]["source"] = "original"
    assert ask(checkout, "verify", "--fix").code == 0
    assert not (shards / "shard-7.h5").exists()
    assert checkout.run().rows == {}
    assert ask(checkout, "verify").code == 0


def test_cache_tells_what_no_experiment_uses_and_removes_only_that(checkout: Checkout) -> None:
    assert " 0 B unused" in ask(checkout, "cache").output
    checkout.config["motion"]["original"]["source"] = "auto"
    told = ask(checkout, "cache")
    assert told.output.count("  no experiment") == 1
    removed = ask(checkout, "cache", "--remove-unused")
    assert removed.output.count("removed results/.cache/motion/") == 1
    assert len(list((checkout.project / "results/.cache/motion").glob("*"))) == 0
    assert len(list((checkout.project / "results/.cache/appearance").glob("*"))) == 2


def test_plan_asks_the_cache_by_content_and_computes_nothing(checkout: Checkout) -> None:
    done = checkout.plan()
    assert done.output.splitlines() == ["24 videos (0 with new content), 425 frames", "nothing to be done"]
    # The bytes of another video: its features are cached.
    write_clip(checkout.videos / "MovingRight/v0.mp4", number=18)
    planned = checkout.plan()
    assert planned.output.startswith("24 videos (0 with new content), 4")
    assert (planned.most["motion_shard"], planned.most["appearance_shard"]) == (1, 2)
    assert {"motion_shard", "appearance_shard"}.isdisjoint(planned.made)
    # A content of its own, which no job has decoded: frames are about those of the others.
    write_clip(checkout.videos / "MovingRight/v0.mp4", number=30)
    before = {path: path.stat().st_mtime_ns for path in checkout.results.rglob("*") if path.is_file()}
    planned = checkout.plan()
    assert planned.output.startswith("24 videos (1 with new content), about 4")
    assert (planned.made["motion_shard"], planned.made["appearance_shard"]) == (1, 2)
    line = next(line for line in planned.output.splitlines() if "motion_shard" in line)
    assert line.endswith("  measured")
    assert before == {path: path.stat().st_mtime_ns for path in checkout.results.rglob("*") if path.is_file()}


def test_two_projects_share_one_cache_at_the_same_time(built_checkout: Checkout, tmp_path: Path) -> None:
    one, other = new_checkout(tmp_path / "one"), new_checkout(tmp_path / "other")
    # Another root, the same videos: rows follow the bytes of a video and not its place.
    other.videos.rename(other.project / "elsewhere")
    other.config["dataset"]["root"] = "elsewhere"
    for checkout in (one, other):
        checkout.config["cache_dir"] = str(tmp_path / "cache")
    runs = [
        subprocess.Popen(
            checkout.command("results/toy/motion/original/index.json", "results/toy/appearance/clip/index.json"),
            cwd=checkout.project,
            env=checkout.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for checkout in (one, other)
    ]
    assert [run.wait(timeout=600) for run in runs] == [0, 0]
    # The one that came second to a shard waited, and found its rows there.
    computed = [video_id for checkout in (one, other) for video_id in checkout.rows().get("motion", ())]
    for stream in ("motion/original", "appearance/clip"):
        for name in ("shard-0.h5", "shard-1.h5", "index.json"):
            assert (one.results / stream / name).read_bytes() == (other.results / stream / name).read_bytes()
    assert len(computed) == len(set(computed)) == 24, "a row was computed twice, or not at all"


def test_a_rule_to_stop_at_is_refused_since_snakemake_would_lose_it(checkout: Checkout) -> None:
    ran = checkout.run("--until", "motion_index", check=False).ran
    assert ran.code == 2
    assert "error: --until: expected the files that are wanted" in ran.output
