"""One contract for every index: NumPy says what is near."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.retrieval.graph import LINKS, build_graph, choose_links
from tzrec.retrieval.index import (
    FLAT_TYPES,
    HNSW_TYPES,
    NAMED_TYPES,
    build,
    load,
    plan_factory,
    plan_flat,
    plan_hnsw,
    plan_ivf,
    sample_rows,
    save,
    search,
)
from tzrec.retrieval.items import ItemTable
from tzrec.retrieval.pool import Search, open_pool, write_pool
from tzrec.retrieval.witness import Witness, ask, latency
from tzrec.runtime.errors import UserError

DIM = 8


def units(count, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def make_plan(kind, count):
    if kind in FLAT_TYPES:
        return plan_flat(kind, count)
    return plan_hnsw(kind, count, 16, 200) if kind in HNSW_TYPES else plan_ivf(kind, count, 10, 10)


def exact(kind, vectors, queries, k):
    """Scores [Q, k] and positions [Q, k], by NumPy alone."""
    products = queries @ vectors.T
    scores = (
        -products
        if kind.endswith("IP")
        else (queries**2).sum(1)[:, None] - 2 * products + (vectors**2).sum(1)
    )
    order = np.argsort(scores, axis=1, kind="stable")[:, :k]
    return np.abs(np.take_along_axis(scores, order, 1)), order


@pytest.mark.parametrize("kind", NAMED_TYPES)
class TestContract:
    def make(self, kind, vectors):
        return build(make_plan(kind, len(vectors)), DIM, vectors, [vectors[:50], vectors[50:]])

    def test_finds_what_numpy_finds(self, kind):
        vectors, queries = units(400), units(20, 1)
        scores, positions = search(self.make(kind, vectors), queries, 10)
        expected_scores, expected = exact(kind, vectors, queries, 10)
        assert (scores.dtype, positions.dtype) == (np.float32, np.int64)
        assert (positions == expected).mean() > 0.99
        np.testing.assert_allclose(np.abs(scores), expected_scores, atol=1e-5)

    def test_k_larger_than_the_pool_leaves_empty_slots(self, kind):
        vectors = units(60)
        scores, positions = search(self.make(kind, vectors), units(3, 1), 75)
        assert scores.shape == positions.shape == (3, 75)
        assert [sorted(row[:60]) for row in positions] == [list(range(60))] * 3
        assert (positions[:, 60:] == -1).all()

    def test_equal_vectors_are_all_found(self, kind):
        vectors = np.concatenate([units(60), np.repeat(units(1, 7), 5, 0)])
        _, positions = search(self.make(kind, vectors), units(1, 7), 5)
        assert sorted(positions[0]) == [60, 61, 62, 63, 64]

    def test_survives_the_file(self, kind, tmp_path):
        index, queries = self.make(kind, units(100)), units(5, 1)
        save(index, str(tmp_path / "index"))
        for shared in (False, True):
            loaded = load(str(tmp_path / "index"), shared)
            np.testing.assert_array_equal(search(loaded, queries, 7)[1], search(index, queries, 7)[1])

    def test_one_vector_and_no_query(self, kind):
        index = build(make_plan(kind, 1), DIM, units(1), [units(1)])
        assert search(index, units(1), 3)[1].tolist() == [[0, -1, -1]]
        assert search(index, np.empty((0, DIM), np.float32), 3)[1].shape == (0, 3)

    def test_the_witness_agrees(self, kind):
        vectors = units(500)
        witness = Witness(vectors[:10], make_plan(kind, 500).metric)
        witness.see(vectors[:3])
        witness.see(vectors[3:])
        assert witness.recall(self.make(kind, vectors)) > 0.98
        # A tenth of the vectors holds about a tenth of the nearest.
        assert witness.recall(build(make_plan(kind, 50), DIM, vectors[450:], [vectors[450:]])) < 0.5


@pytest.mark.parametrize(
    ("items", "nlist", "nprobe", "lists", "probed"),
    [
        (20_000, 1000, 800, 512, 410),
        (39_000, 1000, 800, 1000, 800),
        (38_999, 1000, 800, 999, 800),
        (5, 1000, 800, 1, 1),
        (10_000, 100, 800, 100, 100),
        (10_000, 10, 8, 10, 8),
        (1_000_000, 1000, 1, 1000, 1),
    ],
)
def test_lists_are_what_the_pool_can_train(items, nlist, nprobe, lists, probed):
    plan = plan_ivf("IVFFlatIP", items, nlist, nprobe)
    assert (plan.nlist, plan.nprobe) == (lists, probed)
    assert plan.sample == min(items, 256 * lists)
    assert f"{lists} lists, {probed} probed" in plan.remark
    assert ("asked for" in plan.remark) == (lists < nlist)


@pytest.mark.parametrize(
    ("kind", "least"),
    # Four bits for two numbers, or half of the numbers, keep a little of each vector.
    [("SQ8", 0.85), ("IVF8,SQ8", 0.85), ("IVF8,PQ4x4", 0.15), ("PCA4,Flat", 0.1), ("HNSW16,SQ8", 0.85)],
)
@pytest.mark.parametrize("metric", ["IP", "L2"])
def test_the_language_of_faiss(kind, least, metric, tmp_path):
    vectors = units(2000)
    plan = plan_factory(kind, metric, 2000, DIM, 1.0, 60)
    index = build(plan, DIM, vectors, [vectors])
    witness = Witness(ask(vectors, plan.metric), plan.metric)
    witness.see(vectors)
    assert witness.recall(index) > least
    save(index, str(tmp_path / "index"))
    assert load(str(tmp_path / "index")).metric_type == plan.metric


def test_lists_in_the_language_of_faiss_are_what_the_pool_can_train():
    plan = plan_factory("IVF1000,SQ8", "IP", 390, DIM, 0.8, 200)
    assert (plan.kind, plan.nlist, plan.nprobe, plan.sample) == ("IVF10,SQ8", 10, 8, 390)
    assert "1000 lists and 800 probed asked for" in plan.remark
    assert build(plan, DIM, units(390), [units(390)]).nprobe == 8


@pytest.mark.parametrize("kind", ["IVFPQ", "FlatIp", "PQ3", "nonsense"])
def test_what_faiss_does_not_take(kind):
    with pytest.raises(UserError, match=r"--index_type: .* faiss' index factory does not take it") as error:
        plan_factory(kind, "IP", 100, DIM, 0.8, 200)
    assert "\n" not in str(error.value)
    assert ('did you mean "FlatIP"?' in str(error.value)) == (kind == "FlatIp")


def test_too_few_vectors_for_a_quantiser():
    plan = plan_factory("PQ4", "IP", 20, DIM, 0.8, 200)
    with pytest.raises(UserError, match="cannot build PQ4 from these vectors"):
        build(plan, DIM, units(20), [units(20)])


def shifted(count):
    """Vectors that share a direction and differ in length: the longest are everyone's neighbours."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((count, DIM)) + 5 * rng.standard_normal((1, DIM))
    return (vectors * np.exp(0.5 * rng.standard_normal((count, 1)))).astype(np.float32)


def test_a_graph_over_inner_products_reaches_its_vectors(tmp_path):
    vectors = shifted(3000)
    plan = plan_hnsw("HNSWFlatIP", 3000, 16, 100)
    witness = Witness(ask(vectors, plan.metric), plan.metric)
    witness.see(vectors)
    plain = build(plan, DIM, vectors, [vectors])
    links, remark = choose_links(plan, vectors)
    assert links == "distances"
    assert "linked by distances" in remark
    better = build_graph(plan, DIM, [vectors[:1000], vectors[1000:]], links)
    assert witness.recall(plain) < 0.8 < 0.9 < witness.recall(better)
    # The file answers with inner products of the vectors as they are.
    save(better, str(tmp_path / "index"))
    loaded = load(str(tmp_path / "index"))
    queries = units(5, 1)
    scores, positions = search(loaded, queries, 3)
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, vectors[positions]), rtol=1e-5)


@pytest.mark.parametrize("links", LINKS)
def test_every_kind_of_links_holds_the_same_vectors(links, tmp_path):
    vectors = shifted(200)
    made = build_graph(plan_hnsw("HNSWFlatIP", 200, 8, 40), DIM, [vectors[:90], vectors[90:]], links)
    save(made, str(tmp_path / "index"))
    loaded = load(str(tmp_path / "index"))
    assert (loaded.ntotal, loaded.metric_type) == (200, 0)
    np.testing.assert_array_equal(loaded.reconstruct_n(0, 200), vectors)


def test_vectors_of_one_length_need_no_trial():
    assert choose_links(plan_hnsw("HNSWFlatIP", 100, 8, 40), units(100)) == ("products", "")


def test_latency_is_of_single_queries():
    vectors = units(500)
    took = latency(build(plan_flat("FlatIP", 500), DIM, vectors, [vectors]), vectors[:20])
    assert 0 < took.median <= took.worst < 1000


def test_a_sample_is_the_same_every_time():
    rows = sample_rows(1000, 100)
    assert len(np.unique(rows)) == 100
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, sample_rows(1000, 100))
    assert sample_rows(5, 9).tolist() == [0, 1, 2, 3, 4]


def write_items(path, ids, vectors):
    lists = vectors if isinstance(vectors, pa.Array) else pa.array(vectors.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "emb": lists}), path, row_group_size=64)
    return ItemTable.open(str(path), "--items", "id", "emb")


@pytest.mark.parametrize(
    "ids",
    [
        [2**53 + i for i in range(300)],
        pa.array(range(300), pa.int32()),
        [f"item {i}" for i in range(300)],
    ],
    ids=["beyond a double", "int32", "with spaces"],
)
def test_a_pool_keeps_ids_with_their_vectors(tmp_path, ids):
    vectors = units(300)
    items = write_items(tmp_path / "a.parquet", ids, vectors)
    write_pool(tmp_path, items, Search(plan_ivf("IVFFlatIP", 300, 4, 4)))
    pool = open_pool(tmp_path)
    _, positions = pool.search(vectors, 1)
    texts = [str(i) for i in (ids.to_pylist() if isinstance(ids, pa.Array) else ids)]
    assert pool.ids.to_pylist() == [texts[row] for row in pool.table_rows.tolist()]
    assert pool.ids.take(pa.array(positions[:, 0])).to_pylist() == texts


def test_a_sample_holds_the_rows_that_were_chosen(tmp_path):
    vectors = units(300)
    items = write_items(tmp_path / "a.parquet", list(range(300)), vectors)
    np.testing.assert_array_equal(items.sample(40), vectors[sample_rows(300, 40)])


def test_an_id_twice(tmp_path):
    items = write_items(tmp_path / "a.parquet", ["a", "b", "c", "b", "b"], units(5))
    with pytest.raises(
        UserError, match=re.escape("row 3 (counted from 0): the id 'b' stands in row 1 already")
    ):
        write_pool(tmp_path, items, Search(plan_flat("FlatIP", 5)))


def test_a_bad_vector_says_its_row_of_the_table(tmp_path):
    vectors = units(200)
    vectors[170, 3] = np.nan
    items = write_items(tmp_path / "a.parquet", list(range(200)), vectors)
    with pytest.raises(UserError, match="row 170 "):
        items.sample(10_000)
    with pytest.raises(UserError, match="row 170 "):
        list(items.blocks(DIM))


def test_a_table_without_rows(tmp_path):
    with pytest.raises(UserError, match="has no row"):
        write_items(tmp_path / "a.parquet", pa.array([], pa.int64()), units(0))
