"""The style sheet of every page: light and dark, wide and narrow, screen and paper. Pure."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f6f7f9; --ink: #1a1d21; --muted: #5a6370; --line: #dde1e6;
  --fusion: #1d5fd1; --appearance: #b9540a; --motion: #0b7a68; --zero: #6b727c; --miss: #b3261e; --shuffled: #8438a0;
  --warn-page: #fff6e0; --warn-line: #e2b13c; --alarm-page: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121417; --card: #1b1e23; --ink: #e7e9ec; --muted: #9ba4af; --line: #30353c;
    --fusion: #78a9ff; --appearance: #f2a05c; --motion: #46c7ac; --zero: #a3abb6; --miss: #ff8a80; --shuffled: #d3a0e6;
    --warn-page: #2b2414; --warn-line: #8a6a1c; --alarm-page: #331916;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 66rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { font-size: 2rem; line-height: 1.2; margin: .1rem 0 .4rem; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 3rem 0 .4rem; padding-top: 1.1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .3rem; }
p { margin: .35rem 0 .8rem; max-width: 46rem; }
a { color: var(--fusion); }
code, pre { font: .84em/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem;
  overflow-x: auto;
}
.eyebrow { color: var(--muted); font-size: .85rem; letter-spacing: .04em; margin: 0; }
.muted, figcaption, .note { color: var(--muted); font-size: .88rem; }
.warn {
  background: var(--warn-page); border: 1px solid var(--warn-line); border-radius: 8px; padding: .6rem .9rem;
  max-width: none;
}
.alarm, .calm { border: 1px solid var(--line); border-radius: 8px; padding: .7rem 1rem .5rem; margin: 1.1rem 0; }
.alarm { background: var(--alarm-page); border-color: var(--miss); } .alarm > b { color: var(--miss); }
.calm { background: var(--card); } .alarm p, .calm p, .alarm ul { max-width: none; margin: .35rem 0; }
nav { margin: 1.1rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .92rem; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.2rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .75rem 1rem .7rem; }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; font-weight: 650; letter-spacing: -.02em; }
.tile span { color: var(--muted); font-size: .84rem; line-height: 1.35; display: block; }

.scroll { overflow-x: auto; margin: .6rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .38rem .55rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--muted); font-size: .82rem; vertical-align: bottom; }
tbody th { color: var(--ink); font-size: inherit; }
td, .tile b { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, .text { text-align: left; }
th:first-child, td:first-child { padding-left: .2rem; }
td:last-child, th:last-child { padding-right: .2rem; }
.scroll th:first-child { position: sticky; left: 0; background: var(--page); }
.pair .wrap { min-width: 6rem; }
.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
tr.group th { padding-top: 1.1rem; font-size: .95rem; }
tr.best td, tr.best th { font-weight: 650; }
.sd { color: var(--muted); font-weight: 400; font-size: .88em; }
.bar {
  display: inline-block; width: 5rem; height: .62rem; border-radius: 3px; background: var(--line);
  overflow: hidden;
}
figure .bar { width: 4rem; }
.bar i { display: block; height: 100%; background: currentColor; }
ul.note { margin: .2rem 0 .8rem; padding-left: 1.2rem; }
.mark {
  border: 1px solid var(--warn-line); background: var(--warn-page); border-radius: 5px; padding: 0 .35rem;
  font-size: .74rem; font-weight: 400; display: inline-block; max-width: 13rem; white-space: normal; line-height: 1.35;
}

.fusion { color: var(--fusion); } .appearance { color: var(--appearance); } .motion { color: var(--motion); }
.zero_shot, .zero_shot_head, .unsure { color: var(--zero); } .score_fusion { color: var(--fusion); }
.motion_head { color: var(--motion); } .shuffled_motion { color: var(--shuffled); }
.gain { color: var(--motion); } .loss { color: var(--miss); }
.legend {
  display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .86rem; margin: .3rem 0 .2rem; padding: 0;
  list-style: none;
}
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend span { color: var(--ink); }

svg { fill: currentColor; }
svg text { fill: var(--muted); font-family: inherit; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem 2.5rem; }
.charts.broad { grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
.charts figure { display: flex; flex-direction: column; } .charts .legend { flex: 1; align-content: start; }
figure { margin: .6rem 0; min-width: 0; }
figcaption b { color: var(--ink); font-weight: 600; }
.chart { width: 100%; height: auto; display: block; }
.tick { font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.line { fill: none; stroke: currentColor; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.line.dashed { stroke-dasharray: 5 4; }
.bars rect { fill: var(--motion); }
.band { fill: currentColor; opacity: .13; }
.name { font-size: 12px; } svg .name { fill: var(--ink); }
.zero { stroke: var(--muted); stroke-width: 1.2; fill: none; }
.ideal { stroke: var(--muted); stroke-width: 1.2; stroke-dasharray: 4 4; fill: none; }
.thin { stroke-width: 1.4; opacity: .7; } .share { opacity: .55; }
.interval { stroke: currentColor; stroke-width: 2.4; fill: none; }
.cap { stroke: var(--ink); stroke-width: 1.1; fill: none; }
.point { stroke-width: 1.2; } .point > g { stroke: var(--page); } .point .interval { stroke-width: 1.4; opacity: .55; }
.point.faint { opacity: .38; } .point .hollow { stroke: currentColor; stroke-width: 2; }
.cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)); gap: .6rem 1.6rem; }
.cells figure { max-width: 18rem; }
ul.said { margin: .5rem 0 .8rem; padding-left: 1.2rem; max-width: 62rem; } ul.said li { margin: .2rem 0; }
.strip { width: 100%; display: block; }
.strip g { stroke: var(--page); stroke-width: 1.2; }
.hollow { fill: var(--page); stroke: currentColor; stroke-width: 2; }
.span { stroke: var(--line); stroke-width: 5; stroke-linecap: round; }
.dots td, .dots tbody th { padding-top: .1rem; padding-bottom: .1rem; font-weight: 400; }
.dots .plot { width: 48%; min-width: 10rem; padding: .1rem 1.1rem; }
.dots thead .plot { text-align: left; }
.axis { display: flex; justify-content: space-between; margin: 0 -.9rem; font-weight: 400; }
.axis i { font-style: normal; width: 2.2rem; text-align: center; }
.heatmap { display: block; }
.heatmap .name { fill: var(--ink); }
.heatmap .frame { fill: var(--card); stroke: var(--line); }
.heatmap .hit { color: var(--fusion); } .heatmap .miss { color: var(--miss); }
.heatmap .value { font-size: 12px; fill: var(--ink); } .heatmap .value.on { fill: var(--page); }
.shade { background: color-mix(in srgb, var(--fusion) calc(var(--share) * 60%), transparent); }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.pair > * { min-width: 0; max-width: 100%; }
.pair > .grow { flex: 1 1 15rem; }

details { margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; }
details.experiment > summary {
  font-size: 1.1rem; border-top: 1px solid var(--line); padding-top: .8rem; margin-top: 1rem;
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: .6rem 0; font-size: .92rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 3.5rem; color: var(--muted); font-size: .85rem; }

@media (max-width: 640px) {
  body { padding: 1.5rem 1rem 3rem; font-size: 15px; }
  h1 { font-size: 1.6rem; }
  .wide { display: none; }
  th, td { padding-left: .4rem; padding-right: .4rem; }
  .dots .plot { min-width: 8rem; padding-left: .6rem; padding-right: .6rem; }
  .dots tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 5.5rem; line-height: 1.25; }
  .tiles { grid-template-columns: 1fr 1fr; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
}
@media print { nav { display: none; } body { max-width: none; } .scroll { overflow: visible; } }
"""
