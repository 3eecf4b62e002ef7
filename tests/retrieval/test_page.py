"""The report: its numbers by hand, and the page in a real browser."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.browser import MISSING, browser
from tests.retrieval.support import in_pool_order, make_case, reference, scores_of
from tzrec.retrieval.breakdown import Bar, bucket_name, by_popularity, by_size, place_misses, powers
from tzrec.retrieval.evaluation import METRICS, Evaluation, totals
from tzrec.retrieval.hit_rate import Tally
from tzrec.retrieval.page import render
from tzrec.retrieval.users import Retrieval, score
from tzrec.runtime.world import World


def evaluate(case, folder, ks=(5, 20), popularity=None, interests_across=False):
    pool, users = case.open(folder)
    evaluation = Evaluation(World(), users, pool, Retrieval(ks[-1], 16, interests_across), list(ks))
    evaluation.prepare(list(METRICS), popularity, "id", breakdown=True)
    return evaluation, evaluation.run(None)


def by_hand(case, pool, k, seen):
    """Every measure at k, by loops."""
    given, hits, items = reference(case, pool, k)
    ndcg, mrr, covered, popular, rows = 0.0, 0.0, set(), 0, 0
    texts, pooled = ([str(i) for i in each.ids] for each in (case, in_pool_order(case)))
    order = np.argsort(-seen, kind="stable")
    random = 0.0
    for row, found in enumerate(given):
        wanted = {str(i) for i in case.gt[row] or []}
        if not wanted:
            continue
        rows += 1
        covered |= set(found)
        places = [place for place, item in enumerate(found) if pooled[item] in wanted]
        ideal = sum(1 / math.log2(n + 2) for n in range(min(k, len(wanted))))
        ndcg += sum(1 / math.log2(place + 2) for place in places) / ideal
        mrr += 1 / (places[0] + 1) if places else 0
        barred = {str(i) for i in (case.excluded or [[]] * case.rows)[row] or []} & set(texts)
        top = [texts[item] for item in order if texts[item] not in barred][:k]
        popular += len(wanted & set(top))
        there = (wanted & set(texts)) - barred
        random += len(there) * min(1, k / (len(texts) - len(barred)))
    return {
        "hitrate": hits / items,
        "ndcg": ndcg / rows,
        "mrr": mrr / rows,
        "coverage": len(covered) / len(texts),
        "popular": popular / items,
        "random": random / items,
    }


@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize("kind", ["FlatIP", "IVFFlatL2"])
def test_measures_are_what_loops_count(tmp_path, kind, excluding):
    case = replace(make_case(11), kind=kind)
    if excluding:
        case.excluded = [[case.ids[(7 * n + i) % 260] for i in range(n % 40)] for n in range(case.rows)]
    seen = np.random.default_rng(2).integers(0, 9, 260)
    train = [case.ids[item] for item in np.repeat(np.arange(260), seen)]
    pq.write_table(pa.table({"id": [*train, 1, 1]}), tmp_path / "train.parquet")
    evaluation, result = evaluate(case, tmp_path / "case", popularity=str(tmp_path / "train.parquet"))
    table = totals(result).to_pydict()
    assert table.pop("top_k") == [5, 20]
    for place, k in enumerate((5, 20)):
        expected = by_hand(case, evaluation.pool, k, seen)
        assert {name: values[place] for name, values in table.items()} == pytest.approx(expected, abs=1e-9)


def test_measures_do_not_depend_on_the_ranks(tmp_path):
    case = make_case(12)
    pool, users = case.open(tmp_path)

    def measured(edges):
        parts = []
        for start, stop in pairwise(edges):
            one = Evaluation(World(), users, pool, Retrieval(20, 9), [5, 20])
            one.prepare(["ndcg", "mrr", "coverage", "random"], None, "id", breakdown=True)

            def see(scored, one=one):
                for measure in (*one.measures, one.breakdown):
                    measure.see(scored)

            tally = score(users, start, stop, pool, one.how, see)
            parts.append((one, tally))
        first = parts[0][0]
        for other, _ in parts[1:]:
            for mine, theirs in zip(first.measures, other.measures, strict=True):
                mine.add(theirs)
            first.breakdown.add(other.breakdown)
        total = sum((tally for _, tally in parts), Tally.nothing(20))
        values = [measure.value(k) for measure in first.measures for k in (5, 20)]
        misses = [(miss.row, miss.nearest) for miss in first.breakdown.misses]
        return total.by_rank.tolist(), values, first.breakdown.wanted.tolist(), misses

    assert measured([0, 61]) == measured([0, 7, 8, 40, 61])


def test_one_k_alone_is_one_column(tmp_path):
    case = make_case(13)
    pool, users = case.open(tmp_path)
    evaluation = Evaluation(World(), users, pool, Retrieval(5), [5])
    evaluation.prepare([], None, "id", breakdown=False)
    assert totals(evaluation.run(None)).column_names == ["hitrate"]


def test_buckets():
    counts = np.array([0, 1, 2, 3, 4, 7, 8])
    assert [bucket_name(bucket) for bucket in powers(counts)] == [
        "0",
        "1",
        "2-3",
        "2-3",
        "4-7",
        "4-7",
        "8-15",
    ]
    bars = by_popularity(np.array([2, 0, 4]), np.array([1, 0, 1]), np.array([3, 2, 0]))
    assert bars == [Bar("0", 4, 1, 1), Bar("2-3", 2, 1, 2)]
    sizes = {1: np.array([3, 3, 2]), 5: np.array([1, 5, 0]), 7: np.array([1, 7, 6]), 9: np.array([1, 9, 1])}
    assert by_size(sizes) == [Bar("1", 3, 2, 3), Bar("5-7", 12, 6, 2), Bar("8-15", 9, 1, 1)]


def test_misses_are_the_rows_without_a_hit_and_know_their_rank(tmp_path):
    case = replace(make_case(14), kind="FlatIP")
    evaluation, _ = evaluate(case, tmp_path, ks=(3,))
    pool = evaluation.pool
    given, _, _ = reference(case, pool, 3)
    missed = {}
    for row, found in enumerate(given):
        wanted = [item for item, i in enumerate(case.ids) if i in (case.gt[row] or [])]
        if wanted and not set(wanted) & set(found):
            scores = scores_of(case, case.users[row, 0])
            missed[row] = 1 + int((scores > scores[wanted].max()).sum())
    assert len(missed) > 20
    misses = place_misses(evaluation.breakdown.misses, pool)
    assert len(misses) == 20
    assert {miss.row: miss.rank for miss in misses}.items() <= missed.items()
    assert [miss.rank for miss in misses] == sorted((miss.rank for miss in misses), reverse=True)


def page_of(tmp_path, name="<b>item</b> & "):
    case = replace(make_case(15), kind="FlatIP", ids=[f"{name}{n}" for n in range(260)])
    case.gt = [[f"{name}{n % 260 * 3}" for n in range(row, row + row % 9)] for row in range(case.rows)]
    evaluation, result = evaluate(case, tmp_path / "case", ks=(5, 50))
    path = tmp_path / "report.html"
    path.write_text(render(evaluation.report(result, "FlatIP")), encoding="utf-8")
    return path, result


def test_the_page_needs_nothing_else_and_escapes_ids(tmp_path):
    path, _ = page_of(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "<b>" not in text
    assert "&lt;b&gt;item&lt;/b&gt; &amp; " in text


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_in_a_browser(tmp_path, width):
    path, result = page_of(tmp_path)
    with browser(width) as page:
        page.open(path.as_uri())
        assert page.ask("return document.title") == f"Hit rate@50: {result.tally.rate(50):.4f}"
        assert page.ask("return document.querySelectorAll('section').length") == 5
        # Nothing is wider than the window.
        assert page.ask("return document.documentElement.scrollWidth <= window.innerWidth")
        for name in ("curve", "popularity", "sizes"):
            box = page.ask(
                f"const b = document.querySelector('#{name} svg').getBoundingClientRect();"
                "return [b.width, b.height]"
            )
            assert min(box) > 100, name
        # Every curve has a height, every mark and every bar lies within its chart.
        assert page.ask(
            "return [...document.querySelectorAll('#curve polyline')].map(p => p.points.numberOfItems)"
        ) == [50, 50, 50]
        assert page.ask("return document.querySelectorAll('#curve circle title').length") == 2
        assert page.ask(
            "return [...document.querySelectorAll('rect.bar, circle')].every(e => {"
            "const b = e.getBBox(), v = e.ownerSVGElement.viewBox.baseVal;"
            "return b.x >= 0 && b.y >= 0 && b.x + b.width <= v.width && b.y + b.height <= v.height})"
        )
        heights = page.ask(
            "return [...document.querySelectorAll('#sizes rect')].map(r => r.height.baseVal.value)"
        )
        rates = page.ask(
            "return [...document.querySelectorAll('#sizes tbody tr')].map(r => +r.cells[1].textContent)"
        )
        assert len(heights) == len(rates) > 3
        assert np.corrcoef(heights, rates)[0, 1] > 0.99
        cell = page.ask("return document.querySelector('#figures tbody tr:last-child').cells[1].textContent")
        assert cell == f"{result.tally.rate(50):.4f}"
        assert 0 < page.ask("return document.querySelectorAll('#misses tbody tr').length") <= 20
        assert page.ask("return document.querySelector('#misses tbody .ids').textContent") != ""
        assert page.complaints() == []
        assert all(url.startswith(("file:", "data:")) for url in page.requests())
