"""The report of a hit rate as one HTML page that needs nothing else: no script, no font, no request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from tzrec.retrieval.breakdown import Bar, Miss

# Size of a chart in its own units, which are pixels on a wide screen; the page scales it.
_WIDTH, _WIDE, _HEIGHT = 520, 1050, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 40

# Of the curves, in their order; names of the style.
_COLOURS = ("main", "second", "third")

_STYLE = """
:root { --ink: #1d2733; --soft: #5c6b7a; --line: #dde3ea; --paper: #ffffff; --main: #1f6feb;
  --second: #c2571a; --third: #7b8794; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa7b4; --line: #30363d;
  --paper: #0d1117; --main: #58a6ff; --second: #f0883e; --third: #8b949e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1100px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 4px; }
p { margin: 0 0 10px; color: var(--soft); }
section { margin: 26px 0; min-width: 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 28px; }
.two section { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.n { text-align: right; }
.ids { overflow-wrap: anywhere; min-width: 90px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; } svg .value { fill: var(--ink); }
.grid { stroke: var(--line); } .bar { fill: var(--main); }
.curve { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
"""


@dataclass(frozen=True)
class Line:
    """A curve over K = 1, 2, ...

    Attributes:
        name: for the legend.
        values: at every K, within [0, 1].
    """

    name: str
    values: Sequence[float]


@dataclass
class Report:
    """What the page shows.

    Attributes:
        facts: label and text of what was measured, in order.
        measures: names of the columns of the table, such as "hit rate".
        values: (K, the value of every measure) a row.
        curves: of the hit rate; the first is that of the model.
        popularity, sizes: hit rates by bucket.
        popularity_source: what popularity was counted in.
        misses: placed, worst first.
        top_k: the K of the breakdowns.
        pool_size: items in the pool.
    """

    facts: list[tuple[str, str]]
    measures: list[str]
    values: list[tuple[int, list[float]]]
    curves: list[Line]
    popularity: list[Bar]
    sizes: list[Bar]
    popularity_source: str
    misses: list[Miss]
    top_k: int
    pool_size: int
    marks: list[int] = field(default_factory=list)


def render(report: Report) -> str:
    """The page."""
    top, k = report.values[-1], report.top_k
    title = f"Hit rate@{k}: {top[1][0]:.4f}"
    about = " · ".join(f"{escape(name)} {escape(text)}" for name, text in report.facts)
    parts = [
        f"<h1>{title}</h1><p>{about}</p>",
        _section("figures", "Figures", "", _figures(report)),
        _section(
            "curve",
            "Hit rate over K",
            "The share of all ground-truth items that is among the first K.",
            _curves(report),
        ),
        '<div class="two">',
        _section(
            "popularity",
            f"Hit rate@{k} by popularity of the item",
            f"Popularity: {report.popularity_source}. Items that the pool lacks are not here.",
            _bars(report.popularity, "items of the pool"),
        ),
        _section(
            "sizes",
            f"Hit rate@{k} by number of ground-truth items",
            "Rows by how many items they want.",
            _bars(report.sizes, "rows"),
        ),
        "</div>",
        _section(
            "misses",
            "The rows that missed worst",
            f"None of their ground truth was among the first {k}. The rank is that of their nearest "
            f"ground-truth item among all {report.pool_size:,} items.",
            _misses(report.misses),
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # A page without an icon of its own would ask the server for one.
        '<link rel="icon" href="data:,">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _section(name: str, heading: str, note: str, body: str) -> str:
    return (
        f'<section id="{name}"><h2>{heading}</h2>'
        + (f"<p>{escape(note)}</p>" if note else "")
        + f"{body}</section>"
    )


def _number(value: float) -> str:
    return f"{value:.4f}"


def _row(cells: Sequence[str], tag: str = "td", right: Sequence[int] = ()) -> str:
    made = (
        f"<{tag}{' class=n' if place in right else ''}>{cell}</{tag}>" for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(made)}</tr>"


def _figures(report: Report) -> str:
    right = range(1, len(report.measures) + 1)
    head = _row(["K", *map(escape, report.measures)], "th", right)
    rows = [_row([f"{k:,}", *map(_number, values)], "td", right) for k, values in report.values]
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _y(value: float, most: float) -> float:
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / most), 2)


def _ceiling(value: float) -> float:
    """The end of the axis: 1, 0.5, 0.2, 0.1, 0.05 ... at or above the value."""
    end = 1.0
    for step in (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001):
        if value <= step:
            end = step
    return end


def _frame(most: float, width: int) -> list[str]:
    lines = []
    for step in range(5):
        value = most * step / 4
        y = _y(value, most)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.4g}</text>')
    return lines


def _svg(label: str, parts: Sequence[str], width: int) -> str:
    box = f'viewBox="0 0 {width} {_HEIGHT}"'
    return f'<svg {box} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _curves(report: Report) -> str:
    width, most = len(report.curves[0].values), _ceiling(max(max(line.values) for line in report.curves))
    span = _WIDE - _LEFT - _RIGHT

    def x(k: float) -> float:
        return round(_LEFT + span * (k - 1) / max(1, width - 1), 2)

    parts = _frame(most, _WIDE)
    ticks = sorted({1, width, *(round(width * n / 4) or 1 for n in (1, 2, 3))})
    parts += [f'<text x="{x(k)}" y="{_HEIGHT - 20}" text-anchor="middle">{k:,}</text>' for k in ticks]
    parts.append(f'<text x="{_LEFT + span / 2}" y="{_HEIGHT - 4}" text-anchor="middle">K</text>')
    # A chart has some hundred points of width: more of them are not seen.
    step = max(1, width // 500)
    shown = sorted({*range(1, width + 1, step), width, *report.marks})
    for place, line in enumerate(report.curves):
        colour = f"var(--{_COLOURS[place]})"
        points = " ".join(f"{x(k)},{_y(line.values[k - 1], most)}" for k in shown)
        if len(shown) == 1:
            points += f" {_WIDE - _RIGHT},{_y(line.values[0], most)}"
        parts.append(f'<polyline class="curve" stroke="{colour}" points="{points}"/>')
    for k in report.marks:
        value = report.curves[0].values[k - 1]
        text = f"K = {k:,}: {value:.4f}"
        parts.append(
            f'<circle cx="{x(k)}" cy="{_y(value, most)}" r="4" fill="var(--main)">'
            f"<title>{text}</title></circle>"
        )
    legend = "".join(
        f'<span style="color: var(--{_COLOURS[place]})">●</span> {escape(line.name)} &nbsp; '
        for place, line in enumerate(report.curves)
    )
    return _svg("Hit rate over K", parts, _WIDE) + f"<p>{legend}</p>"


def _bars(bars: Sequence[Bar], holds: str) -> str:
    if not bars:
        return "<p>None.</p>"
    most = _ceiling(max(bar.rate for bar in bars))
    step = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    parts = _frame(most, _WIDTH)
    for place, bar in enumerate(bars):
        middle, top = round(_LEFT + step * (place + 0.5), 2), _y(bar.rate, most)
        width = round(min(56.0, 0.7 * step), 2)
        note = (
            f"{bar.name}: {bar.rate:.4f}, {bar.hits:,} of {bar.wanted:,} ground-truth items, "
            f"{bar.holds:,} {holds}"
        )
        parts.append(
            f'<rect class="bar" x="{round(middle - width / 2, 2)}" y="{top}" width="{width}" '
            f'height="{round(_y(0, most) - top, 2)}"><title>{escape(note)}</title></rect>'
        )
        if step > 26:
            parts.append(
                f'<text class="value" x="{middle}" y="{max(top - 4, 10)}" text-anchor="middle">'
                f"{bar.rate:.2g}</text>"
            )
        # Names of neighbours stand in two lines where there is little room.
        below = _HEIGHT - 22 + (14 if step < 60 and place % 2 else 0)
        parts.append(f'<text x="{middle}" y="{below}" text-anchor="middle">{escape(bar.name)}</text>')
    head = _row(["", "hit rate", "hits", "ground truth", holds], "th", range(1, 5))
    rows = [
        _row(
            [escape(bar.name), _number(bar.rate), f"{bar.hits:,}", f"{bar.wanted:,}", f"{bar.holds:,}"],
            "td",
            range(1, 5),
        )
        for bar in bars
    ]
    table = f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    return _svg("Hit rate by bucket", parts, _WIDTH) + table


def _misses(misses: Sequence[Miss]) -> str:
    if not misses:
        return "<p>Every row that could hit did.</p>"
    head = _row(
        ["row", "request", "wanted", "nearest of them", "rank", "score", "last score given", "given first"],
        "th",
        (0, 4, 5, 6),
    )
    rows = []
    for miss in misses:
        more = miss.wanted_count - len(miss.wanted)
        wanted = ", ".join(map(escape, miss.wanted)) + (f" and {more:,} more" if more else "")
        rows.append(
            f"<tr><td class=n>{miss.row:,}</td><td class=ids>{escape(miss.request)}</td>"
            f"<td class=ids>{wanted}</td><td class=ids>{escape(miss.nearest)}</td>"
            f"<td class=n>{miss.rank:,}</td><td class=n>{miss.score:.4g}</td>"
            f"<td class=n>{miss.last_score:.4g}</td>"
            f"<td class=ids>{', '.join(map(escape, miss.given))}</td></tr>"
        )
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
