"""How the page at `/status` looks: one sheet, no picture, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5b6470; --line: #d7dbe0;
  --paper: #f5f6f8; --card: #fff; --good: #14713d; --good-bg: #dcf3e4; --warn: #835000;
  --warn-bg: #fdeecb; --bad: #a3131d; --bad-bg: #fde1e1; --calm: #29509a; --calm-bg: #e1eafb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa4b0; --line: #333b45;
  --paper: #12161b; --card: #1b2027; --good: #7fdca3; --good-bg: #15382a; --warn: #f2c76b;
  --warn-bg: #40310c; --bad: #ff9d9d; --bad-bg: #4a191c; --calm: #a4c3ff; --calm-bg: #1d2d4d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
header { display: flex; flex-wrap: wrap; gap: .35rem .75rem; align-items: center; }
p, .dim { color: var(--dim); margin: .25rem 0; }
code { font: .92em ui-monospace, monospace; }
.word { display: inline-block; padding: .05rem .5rem; border-radius: 1rem; font-weight: 600;
  font-size: .85rem; white-space: nowrap; background: var(--calm-bg); color: var(--calm); }
.good { background: var(--good-bg); color: var(--good); }
.warn { background: var(--warn-bg); color: var(--warn); }
.bad { background: var(--bad-bg); color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .6rem; margin: 1rem 0 0; padding: 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .5rem .75rem; }
dt { color: var(--dim); font-size: .82rem; }
dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
dd small { display: block; font-weight: 400; font-size: .8rem; color: var(--dim); }
table { width: 100%; border-collapse: collapse; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--dim); font-size: .82rem; font-weight: 500; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
td small { display: block; color: var(--dim); }
.notice { background: var(--bad-bg); color: var(--bad); border-radius: .6rem; margin: 1rem 0 0;
  padding: .6rem .75rem; }
@media (max-width: 46rem) {
  thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  table, tbody { display: block; }
  tr { display: grid; grid-template-columns: 1.3fr 1fr 1fr 1.1fr; gap: .3rem .6rem;
    padding: .6rem .75rem; border-bottom: 1px solid var(--line); }
  tr:last-child { border-bottom: 0; }
  td, td.number { display: block; border: 0; padding: 0; text-align: left;
    font-size: .9rem; }
  td::before { content: attr(data-label); display: block; color: var(--dim); font-size: .75rem; }
  td.wide { grid-column: 1 / -1; }
  td.three { grid-column: span 3; }
  td.bare::before { content: none; }
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: this very sheet, and nothing else."""
