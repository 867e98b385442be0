"""How the report's page looks: one style sheet, light and dark, from a phone to a desk."""

STYLE = """
:root{color-scheme:light dark;--ink:#1d2429;--soft:#5c6870;--page:#f7f8f8;--card:#fff;
--rule:#dde2e5;--after:#2f6f9f;--before:#a9b2b8;--gold:#c26b1f;--bad:#b3261e;--badly:#fdecea;
--warn:#8a5a00;--warnly:#fdf3dd;--good:#256d3b;--goodly:#e7f4ea}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaec;--soft:#9aa6ad;--page:#14181b;--card:#1c2226;
--rule:#323a40;--after:#6fb1e0;--before:#67737b;--gold:#e79a55;--bad:#ff8a80;--badly:#3a1f1d;
--warn:#f0c061;--warnly:#352b14;--good:#7fce95;--goodly:#18301f}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;line-height:1.25;margin:.2em 0 .4em}
h2{font-size:1.1rem;margin:2.2em 0 .7em}
p{margin:.4em 0}
.kicker,.soft,.legend,figcaption small{color:var(--soft)}
.kicker{font-size:.85rem;margin:0}
.alarm{border-left:4px solid var(--bad);background:var(--badly);padding:10px 14px;margin:10px 0;
border-radius:4px}
.alarm b{color:var(--bad)}
.alarm.warns{border-color:var(--warn);background:var(--warnly)}
.alarm.warns b{color:var(--warn)}
.alarm.none{border-color:var(--good);background:var(--goodly)}
.alarm.none b{color:var(--good)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(138px,1fr));gap:12px;margin:20px 0}
.tile,figure,.sample{background:var(--card);border:1px solid var(--rule);border-radius:8px}
.tile{padding:12px 14px}
.tile b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.93rem}
th,td{text-align:right;padding:7px 12px;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:9em}
tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:600;font-size:.83rem}
td small{color:var(--soft)}
.up{color:var(--good)}.down{color:var(--bad)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr));gap:12px}
figure{margin:0;padding:12px}
figcaption{font-weight:600;font-size:.93rem}
.legend{font-size:.82rem;margin:0}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .35em 0 0;
vertical-align:-.05em}
svg{display:block;width:100%;height:auto;margin-top:4px}
svg text{font-size:10px;fill:var(--soft)}
.axis,.grid,.zero{fill:none;stroke:var(--rule)}
.axis{stroke:var(--soft)}
.zero{stroke:var(--soft);stroke-dasharray:3 3}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.after{stroke:var(--after)}.line.before{stroke:var(--before)}.line.gold{stroke:var(--gold)}
.key.after,.bar.after,.dot.after{background:var(--after);fill:var(--after)}
.key.before,.bar.before{background:var(--before);fill:var(--before)}
.key.gold{background:var(--gold)}
.bar,.dot{fill-opacity:.72}
.sample{padding:12px 14px;margin:12px 0}
.sample h3{margin:0 0 .5em;font-size:.85rem;font-weight:600;color:var(--soft)}
.prompt{white-space:pre-wrap;overflow-wrap:anywhere;font-weight:600;margin:0 0 .6em}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:12px}
.side{border-top:3px solid var(--before);padding-top:6px;min-width:0}
.side.after{border-color:var(--after)}
.side h4{margin:0 0 .3em;font-size:.82rem;color:var(--soft);font-weight:600}
.said{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
footer{margin-top:3em;color:var(--soft);font-size:.87rem}
@media(max-width:560px){th,td{padding:7px 6px}.mean small{display:none}.change small{display:block}
th:first-child,td:first-child{min-width:6em}.tile{padding:10px 12px}}
code{font-size:.92em;overflow-wrap:anywhere}
"""
