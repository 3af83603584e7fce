"""The report's style sheet: light and dark, desktop and phone; data colors differ in lightness too."""

__all__ = ["CSS"]

CSS = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b1f27;--soft:#5b6472;--line:#e2e5ea;--accent:#0067b1;
--base:#8d95a1;--r0:#0072b2;--r1:#d55e00;--r2:#009e73;--r3:#b0568f;--r4:#a07800;--r5:#3aa0dc;
--l0:#cfe3f4;--l1:#74b0dd;--l2:#2a78b8;--l3:#0b3a69;--k0:#143a5c;--k1:#0b2740;--k2:#fff;--k3:#fff;
--ok:#00855f;--bad:#d55e00;--none:#8d95a1;--late:#8a4a9e;--gain:#00754f;--loss:#b34700;--warn:#fff4d6;
--warnink:#614700}
@media(prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1b2028;--ink:#e9ecf1;--soft:#a2abb9;
--line:#303744;
--accent:#6db9f2;--base:#7f8896;--r0:#4ea9e6;--r1:#f08a4b;--r2:#33c296;--r3:#de92c2;--r4:#d9b23d;
--r5:#93d2f5;
--l0:#214a70;--l1:#3b80ba;--l2:#7fb9e6;--l3:#d8ebfa;--k0:#e6f1fb;--k1:#fff;--k2:#0c2237;--k3:#0c2237;
--ok:#33c296;--bad:#f08a4b;--none:#7f8896;--late:#c58ad8;--gain:#46d3a6;--loss:#ff9d63;--warn:#3a3118;
--warnink:#f3dc9a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,main,footer{max-width:1200px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:clamp(1.5rem,4vw,2.1rem);line-height:1.2;margin:0 0 .35em;letter-spacing:-.015em;
overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.2em 0 .5em;letter-spacing:-.01em}
h3{font-size:1.02rem;margin:1.5em 0 .6em;overflow-wrap:anywhere}
.lede{font-size:1.1rem;max-width:62em;margin:.4em 0 1em}
.note{color:var(--soft);font-size:.9rem;max-width:62em;margin:.2em 0 .9em}
.chips{display:flex;flex-wrap:wrap;gap:6px;margin:0 0 .8em;padding:0;list-style:none}
.chips li{border:1px solid var(--line);background:var(--card);border-radius:99px;padding:1px 11px;
font-size:.83rem;
color:var(--soft);overflow-wrap:anywhere}
.chips b{color:var(--ink);font-weight:600}
.grid{display:grid;gap:16px;margin-bottom:16px}
.two{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.three{grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:15px 17px;margin:0;
min-width:0}
section>.card{margin-bottom:16px}
.tile .name{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
.tile .big{font-size:2.3rem;font-weight:650;letter-spacing:-.02em;line-height:1.25}
.tile .was{color:var(--soft);font-size:.95rem}
.gain{color:var(--gain);font-weight:600}.loss{color:var(--loss);font-weight:600}.same{color:var(--soft);
font-weight:600}
figure figcaption{font-weight:600;margin-bottom:4px;overflow-wrap:anywhere}
figure .note{margin:.5em 0 0}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.84rem;color:var(--soft);margin-bottom:4px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;
vertical-align:-1px}
svg{display:block;width:100%;max-width:470px;margin:0 auto;height:auto;font-size:12px;overflow:visible}
.legend svg.key{display:inline-block;width:26px;height:10px;margin-right:6px}
svg.key line{stroke-width:3}
svg text{fill:var(--soft);font-variant-numeric:tabular-nums}
svg .inside{font-size:11px}
.grid line,svg .grid{stroke:var(--line);stroke-width:1}
svg .band{opacity:.15}svg .line{fill:none;stroke-width:2.2;stroke-linejoin:round}
svg .dot{stroke:var(--card);stroke-width:1.5}svg .error{stroke:var(--ink);stroke-width:1.1;fill:none;
opacity:.75}
details{margin-top:8px;font-size:.88rem}
summary{cursor:pointer;color:var(--accent)}
summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px;
border-radius:4px}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}
details table{font-size:.84rem}
figure details table,.grid.three table{font-size:.76rem}
.grid.three th,.grid.three td{padding:4px 5px 4px 0}
th,td{padding:5px 10px 5px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
@media(max-width:700px){th,td{white-space:nowrap}}
thead th{color:var(--soft);font-weight:600}tbody th{font-weight:500}
tbody th{position:sticky;left:0;background:var(--card)}
td small,th small{display:block;line-height:1.2;color:var(--soft);font-size:.86em}
caption{text-align:left;color:var(--soft);font-size:.88rem;padding-bottom:4px}
.warnings{background:var(--warn);color:var(--warnink);border-radius:12px;padding:12px 17px;margin:14px 0}
.warnings ul{margin:.2em 0;padding-left:1.2em}.warnings li{overflow-wrap:anywhere}
.sample .q{font-weight:600;white-space:pre-wrap;overflow-wrap:anywhere}
.sample .meta{color:var(--soft);font-size:.84rem;margin-bottom:4px;overflow-wrap:anywhere}
.pair{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(100%,280px),1fr));
margin-top:10px}
.pair>div{min-width:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--bg);border-radius:8px;padding:9px 12px;
margin:6px 0 0;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;max-height:22em;
overflow-y:auto}
.verdict{display:inline-block;border-radius:99px;padding:0 9px;font-size:.78rem;font-weight:600;
border:1.5px solid}
.correct{color:var(--ok)}.incorrect{color:var(--bad)}.no_answer{color:var(--none)}.timed_out{
color:var(--late)}
footer{color:var(--soft);font-size:.85rem;padding-top:26px;padding-bottom:36px}
.mark{display:inline-block;border-radius:4px;padding:0 6px;font-size:.78rem;background:var(--warn);
color:var(--warnink)}
.csv{margin:.4em 0 0}.csv a{color:var(--accent)}
@media print{@page{size:A4 landscape;margin:10mm}
:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb}
body{font-size:11px}header,main,footer{max-width:none;padding:0}
.card,figure{break-inside:avoid}.card.wide-table{break-inside:auto}
.scroll{overflow:visible}table{font-size:9px}th,td{white-space:normal;padding:2px 5px 2px 0}
tbody th{position:static}thead{display:table-header-group}tr{break-inside:avoid}
pre{max-height:none;overflow:visible}summary,.csv{display:none}}
"""
