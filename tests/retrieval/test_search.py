"""Every way of searching against sorting everything, and what must not change the number."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retrieval.support import Case, in_pool_order, make_case, reference
from tzrec.retrieval.exact import nearest, rescore
from tzrec.retrieval.hit_rate import Tally
from tzrec.retrieval.index import plan_ivf
from tzrec.retrieval.pool import EXHAUSTIVE_FROM, Search
from tzrec.retrieval.users import Retrieval, details, details_schema, score

IP, L2 = faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Thousands of tiny searches: threads would only wait for one another."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


# Each: what is replaced in the case, top_k, across.
WAYS = {
    "flat": ({"kind": "FlatIP"}, 10, False),
    "flat L2": ({"kind": "FlatL2"}, 10, False),
    "flat in shards": ({"kind": "FlatIP", "shard": 37}, 10, False),
    "flat L2 in shards": ({"kind": "FlatL2", "shard": 1}, 10, False),
    "most lists": ({}, 10, False),
    "most lists L2": ({"kind": "IVFFlatL2"}, 10, False),
    "most lists in shards": ({"shard": 50}, 10, False),
    "all lists": ({"probes": 6}, 10, False),
    "few lists": ({"lists": 8, "probes": 1}, 10, False),
    "few lists L2": ({"kind": "IVFFlatL2", "lists": 8, "probes": 1}, 10, False),
    "few lists in shards": ({"lists": 8, "probes": 1, "shard": 50}, 10, False),
    "more than there are": ({"kind": "FlatIP"}, 300, False),
    "more than the lists hold": ({"lists": 8, "probes": 1}, 300, False),
    "text": ({"as_text": True}, 10, False),
    "one": ({"kind": "FlatIP"}, 1, False),
}


def run(case: Case, folder: Path, k: int, across: bool = False, batch: int = 1024):
    """(pool, tally, details) of the whole table."""
    pool, users = case.open(folder)
    batches: list[pa.RecordBatch] = []
    how = Retrieval(k, batch, across, every_row=True)
    schema = details_schema(users)
    total = score(
        users, 0, case.rows, pool, how, lambda scored: batches.append(details(scored, pool.ids).cast(schema))
    )
    return pool, total, pa.Table.from_batches(batches)


def check(case: Case, folder: Path, k: int, across: bool = False) -> None:
    pool, total, table = run(case, folder, k, across)
    given, hits, items = reference(case, pool, k, across)
    names = in_pool_order(case).ids
    assert (total.hits(k), total.items) == (hits, items)
    assert total.without == sum(not wanted for wanted in case.gt)
    assert total.rows + total.without == case.rows
    for row, (found, expected) in enumerate(zip(table.to_pylist(), given, strict=True)):
        assert found["topk_ids"] == [str(names[item]) for item in expected], row
        wanted = {str(i) for i in case.gt[row] or []}
        assert found["id"] == row % 7
        assert set(found["hit_ids"]) == wanted & set(found["topk_ids"])
        assert found["hitrate"] == (len(found["hit_ids"]) / len(wanted) if wanted else None)
        nearer = sorted(found["topk_dists"], reverse=case.kind.endswith("IP"))
        assert found["topk_dists"] == nearer


@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_what_sorting_everything_gives(tmp_path, name):
    changes, k, across = WAYS[name]
    check(replace(make_case(), **changes), tmp_path, k, across)


@pytest.mark.parametrize("name", ["flat", "flat in shards", "most lists", "few lists", "flat L2"])
def test_excluded_items_are_never_given(tmp_path, name):
    changes, k, _ = WAYS[name]
    case = replace(make_case(1), **changes)
    rng = np.random.default_rng(5)
    # Some rows exclude nearly everything, some what they want, some what the pool lacks.
    case.excluded = [
        [case.ids[i] for i in rng.permutation(260)[: (0, 3, 40, 255)[n % 4]]] + [99] for n in range(case.rows)
    ]
    case.excluded[2] = None
    check(case, tmp_path, k)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("name", ["flat", "most lists", "few lists", "text", "flat L2"])
def test_several_interests(tmp_path, name, across):
    changes, k, _ = WAYS[name]
    case = replace(make_case(2, interests=3), **changes)
    case.valid = [n % 4 for n in range(case.rows)]
    if not case.as_text:
        case.excluded = [[case.ids[n], case.ids[2 * n]] for n in range(case.rows)]
    check(case, tmp_path, k, across)


@pytest.mark.parametrize("kind", ["FlatIP", "IVFFlatL2"])
def test_a_pool_of_one_vector_many_times(tmp_path, kind):
    case = make_case(3)
    check(replace(case, items=np.ones_like(case.items), kind=kind), tmp_path, 20)


def test_a_smaller_k_is_the_beginning_of_a_larger_one(tmp_path):
    case = make_case(4, interests=2)
    for across in (False, True):
        _, whole, _ = run(case, tmp_path / str(across), 25, across)
        for k in (1, 7, 25):
            _, own, _ = run(case, tmp_path / f"{across} {k}", k, across)
            assert whole.hits(k) == own.hits(k)


@pytest.fixture(scope="module", params=["FlatIP", "IVFFlatIP", "few"])
def opened(request):
    rng = np.random.default_rng(0)
    case = make_case(7, rows=97, interests=2)
    # Real numbers, whose products are rounded: that must not show either.
    case.items = rng.standard_normal((260, 5)).astype(np.float32)
    case.users = rng.standard_normal((97, 2, 5)).astype(np.float32)
    few = request.param == "few"
    case = replace(case, kind="IVFFlatIP" if few else request.param, probes=1 if few else 5, lists=8)
    with TemporaryDirectory() as folder:
        yield *case.open(Path(folder)), case


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 97), max_size=4), size=st.integers(3, 120), shard=st.integers(30, 300))
def test_neither_ranks_nor_batches_nor_shards_change_the_number(opened, cuts, size, shard):
    pool, users, _ = opened
    whole = score(users, 0, 97, pool, Retrieval(7))
    if pool.ivf is None:
        pool = replace(pool, shard_items=shard)
    edges = sorted([0, 97, *cuts])
    parts = [score(users, a, b, pool, Retrieval(7, size)) for a, b in pairwise(edges)]
    total = sum(parts, Tally.nothing(7))
    np.testing.assert_array_equal(total.by_rank, whole.by_rank)
    assert (total.items, total.rows, total.absent) == (whole.items, whole.rows, whole.absent)
    assert whole.hits(7) > 0


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_user_rows_does_not_change_the_number(opened, seed):
    pool, _, case = opened
    order = np.random.default_rng(seed).permutation(97)
    shuffled = replace(case, users=case.users[order], gt=[case.gt[row] for row in order])
    with TemporaryDirectory() as folder:
        _, users = shuffled.open(Path(folder))
        found = score(users, 0, 97, pool, Retrieval(7))
        _, users = case.open(Path(folder) / "as it was")
        expected = score(users, 0, 97, pool, Retrieval(7))
    np.testing.assert_array_equal(found.by_rank, expected.by_rank)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_nearest_is_sorting_whatever_the_filter(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    n, d, k, q = (data.draw(st.integers(1, most)) for most in (900, 20, 60, 20))
    metric = data.draw(st.sampled_from([IP, L2]))
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    queries = rng.standard_normal((q, d)).astype(np.float32)
    if data.draw(st.booleans()):
        vectors, queries = np.round(vectors), np.round(queries)
    allowed = rng.random((q, n)) < data.draw(st.sampled_from([0.02, 0.5, 1.0]))
    everything = np.tile(np.arange(n), (q, 1))
    keys = rescore(queries, vectors, everything, metric) * (-1 if metric == IP else 1)
    keys[~allowed] = np.inf
    order = np.argsort(keys, axis=1, kind="stable")
    expected = np.full((q, k), -1)
    width = min(k, n)
    expected[:, :width] = np.where(np.isinf(np.take_along_axis(keys, order, 1)), -1, order)[:, :width]
    longest = float(np.linalg.norm(vectors, axis=1).max())
    scores, found = nearest(
        queries, vectors, k, metric, longest, lambda rows, places: allowed[rows[:, None], places]
    )
    np.testing.assert_array_equal(found, expected)
    assert (np.isnan(scores) == (found < 0)).all()


def test_scores_are_products_and_squared_distances():
    queries = np.array([[1.0, 2.0]], np.float32)
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    assert rescore(queries, vectors, np.array([[0, 1]]), IP).tolist() == [[11, 0]]
    assert rescore(queries, vectors, np.array([[0, 1]]), L2).tolist() == [[8, 5]]


@pytest.mark.parametrize(
    ("items", "probes", "shard", "exhaustive"),
    [(100_000, 800, 0, True), (100_000, 10, 0, False), (100_000, 10, 50_000, True)],
)
def test_the_way_follows_from_the_flags_and_is_said(items, probes, shard, exhaustive):
    how = Search(plan_ivf("IVFFlatIP", items, 1000, probes), shard)
    assert how.exhaustive(items, 64) == exhaustive
    assert ("every item" in how.remark(items, 64)) == exhaustive
    assert ("2 shards" in how.remark(items, 64)) == bool(shard)
    assert 0.01 < EXHAUSTIVE_FROM < 0.8
