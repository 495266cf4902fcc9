"""The part of the report that shows what was taken for what: a picture, the truth, and each method's vote."""

from html import escape

from moclip.mistakes import Mistake, Mistakes, Vote
from moclip.page import count_of, percent
from moclip.report_marks import label_of, phrase_of

MISTAKES_STYLE = """
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1.2rem; }
.mistakes figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.mistakes img { display: block; width: 100%; height: auto; }
.mistakes figcaption { padding: .6rem .8rem .7rem; overflow-wrap: anywhere; line-height: 1.4; }
.mistakes ul { list-style: none; margin: .4rem 0 0; padding: 0; display: grid; gap: .1rem; }
.mistakes li { display: grid; grid-template-columns: 6.2rem 1fr max-content; gap: .5rem; color: var(--ink); }
.mistakes li > span:first-child { font-weight: 600; } .mistakes .said { font-variant-numeric: tabular-nums; }
.mistakes .none { padding: 2.4rem .8rem; background: var(--card); color: var(--muted); font-size: .86rem; }
"""
_RIGHT, _WRONG = "\N{CHECK MARK}", "\N{MULTIPLICATION X}"


def build_mistakes(mistakes: Mistakes) -> str:
    """Return the section: the mistakes of one experiment, class by class."""
    label = phrase_of(mistakes.method)
    counted = f"{mistakes.num_wrong:,} of {count_of(mistakes.num_videos, one='test video', many='test videos')}"
    head = (
        f'<h2 id="mistakes">Mistakes</h2><p>Experiment {escape(mistakes.experiment)}: {escape(label)} got {counted} '
        "wrong in at least one run.</p>"
    )
    if not mistakes.shown:
        return head
    return (
        f'{head}<p class="note">Shown: {len(mistakes.shown)} of {mistakes.num_wrong:,}, of each class first what most '
        "runs got wrong and were surest of. The frame is in the middle of those that have motion, its block vectors "
        "drawn over it; a method's vote is the class that most of its runs name, with their mean probability.</p>"
        f'<div class="mistakes">{"".join(map(_build_card, mistakes.shown))}</div>'
    )


def _build_card(mistake: Mistake) -> str:
    name, truth = escape(mistake.video_id), escape(mistake.class_name)
    picture = (
        f'<img src="{mistake.picture}" alt="frame of {name} with its block vectors">'
        if mistake.picture
        else f'<div class="none">No picture: {escape(mistake.note)}</div>'
    )
    note = f"<br>No vectors: {escape(mistake.note)}" if mistake.picture and mistake.note else ""
    runs = f" in {mistake.num_wrong} of {mistake.num_runs} runs" if mistake.num_runs > 1 else ""
    votes = "".join(_build_vote(vote, mistake=mistake) for vote in mistake.votes)
    text = f"<b>{truth}</b><br>{name}<br>wrong{runs}{note}<ul>{votes}</ul>"
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def _build_vote(vote: Vote, *, mistake: Mistake) -> str:
    is_right = vote.class_name == mistake.class_name
    mark, style = (_RIGHT, "gain") if is_right else (_WRONG, "loss")
    label = escape(label_of(vote.method))
    return (
        f'<li><span class="{escape(vote.method)}">{label}</span><span>{escape(vote.class_name)} '
        f'<span class="{style}">{mark}</span></span><span class="said">{percent(vote.probability)}</span></li>'
    )
