"""A model whose vectors are all equal is measured as chance, and named.

The attack: equal item vectors, a table in the order of popularity. Equal scores went to the first rows,
which are the popular ones, and the hit rate was many times that of chance.
"""

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.retrieval.collapse import collapse, given_short
from tzrec.retrieval.shuffle import Shuffler, drawn_order, drawn_places
from tzrec.tools import create_faiss_index, hitrate

ITEMS, USERS, K, DIM = 1000, 120, 50, 8
# The rows at the front of the table are wanted most: a third of all is for the first hundred.
WANTED = np.random.default_rng(1).zipf(1.5, USERS * 40) - 1
WANTED = WANTED[WANTED < ITEMS][: USERS * 3].reshape(USERS, 3)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small searches: threads would only wait for one another."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def tables(folder, vectors: np.ndarray, users: np.ndarray) -> None:
    pq.write_table(
        pa.table({"item_id": np.arange(len(vectors)), "item_tower_emb": vectors.tolist()}),
        folder / "items.parquet",
    )
    columns = {
        "request_id": np.arange(len(users)),
        "gt_items": WANTED.tolist(),
        "user_tower_emb": users.tolist(),
    }
    pq.write_table(pa.table(columns), folder / "users.parquet")


def measured(folder, capsys, *flags: str) -> tuple[float, list[str]]:
    """(hit rate, the lines that warn) of the command."""
    inputs = [f"--user_gt_input={folder}/users.parquet", f"--item_embedding_input={folder}/items.parquet"]
    hitrate.main([*inputs, "--top_k", str(K), *flags])
    lines = capsys.readouterr().out.splitlines()
    (total,) = [line for line in lines if line.startswith("Total HitRate")]
    return float(total.split(": ")[1].split()[0]), [line for line in lines if line.startswith("warning")]


def normal(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)


WAYS = {
    "flat": ["--index_type", "FlatIP"],
    "flat L2": ["--index_type", "FlatL2"],
    "shards": ["--index_type", "FlatIP", "--shard_items", "301"],
    "one list": ["--ivf_nlist", "1"],
    "batches": ["--index_type", "FlatIP", "--batch_size", "7"],
}


@pytest.mark.parametrize("vectors", ["equal", "zero"])
def test_a_collapsed_model_has_the_hit_rate_of_chance(tmp_path, capsys, vectors) -> None:
    value = np.ones(DIM, np.float32) if vectors == "equal" else np.zeros(DIM, np.float32)
    tables(tmp_path, np.tile(value, (ITEMS, 1)), normal(USERS))
    rates = {name: measured(tmp_path, capsys, *flags) for name, flags in WAYS.items()}
    assert len({rate for rate, _ in rates.values()}) == 1, rates
    for rate, (pool, tied) in rates.values():
        # Popular items are few: the standard deviation of a draw of items is about 0.03.
        assert rate < 0.15
        assert "the item vectors have collapsed: all 1,000 looked at are equal" in pool
        assert f"in {USERS} of {USERS} rows half or more of the {K} items that were given score alike" in tied
    first_rows = np.mean(WANTED < K)
    assert first_rows > 0.5


@pytest.mark.parametrize("kind", ["IVFFlatIP", "IVFFlatL2"])
def test_a_search_that_finds_little_of_a_collapsed_pool_says_so(tmp_path, capsys, kind) -> None:
    """k-means of equal vectors fills one list: who probes another is given nothing, and a hit rate of 0."""
    tables(tmp_path, np.ones((ITEMS, DIM), np.float32), normal(USERS))
    rate, (pool, short) = measured(tmp_path, capsys, "--index_type", kind, "--ivf_nprobe", "1")
    assert rate < 0.15
    assert "the item vectors have collapsed" in pool
    assert f"in {USERS} of {USERS} rows the probed lists held fewer than {K} items" in short
    assert "raise --ivf_nprobe" in short


@pytest.mark.parametrize("items", [20, 60, 300])
def test_a_small_pool_is_not_called_short(tmp_path, capsys, items) -> None:
    """Most of its items are asked for, of some lists, with items that must not be given, and twins."""
    vectors = normal(items)
    vectors[: items // 3] = vectors[items // 3 : 2 * (items // 3)]
    tables(tmp_path, vectors, normal(USERS, 1))
    flags = ["--exclude_items_field", "request_id"]
    assert measured(tmp_path, capsys, "--top_k", str(items - 5), *flags)[1] == []


def test_users_that_have_collapsed_are_named(tmp_path, capsys) -> None:
    tables(tmp_path, normal(ITEMS), np.ones((USERS, DIM), np.float32))
    _, (line,) = measured(tmp_path, capsys)
    assert line.startswith(f"warning: the user vectors have collapsed: all {USERS} looked at are equal")


def test_zero_users_are_given_items_at_random(tmp_path, capsys) -> None:
    users = normal(USERS)
    users[::4] = 0
    tables(tmp_path, normal(ITEMS), users)
    _, (line,) = measured(tmp_path, capsys, "--index_type", "FlatIP")
    assert f"in {len(users[::4])} of {USERS} rows" in line


def test_a_healthy_model_is_not_warned_of(tmp_path, capsys) -> None:
    tables(tmp_path, normal(ITEMS), normal(USERS, 1))
    for flags in WAYS.values():
        assert measured(tmp_path, capsys, *flags)[1] == []


def test_an_index_of_a_collapsed_pool_is_warned_of(tmp_path, capsys) -> None:
    tables(tmp_path, np.ones((ITEMS, DIM), np.float32), normal(USERS))
    flags = [
        "--embedding_input_path",
        str(tmp_path / "items.parquet"),
        "--index_output_dir",
        str(tmp_path / "out"),
    ]
    create_faiss_index.main([*flags, "--index_type", "FlatIP"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(lines) == 1
    assert "the item vectors have collapsed" in lines[0]
    # A server's ids stay in the order of the table.
    assert (tmp_path / "out" / "id_mapping").read_text().split() == [str(n) for n in range(ITEMS)]


def test_who_was_given_too_few() -> None:
    """Rows 0 and 3 have two vectors, row 1 one, row 2 none."""
    found = np.array([[[4, 5], [6, -1]], [[4, 5], [-1, -1]], [[-1, -1], [-1, -1]], [[1, 2], [3, 4]]])
    rows, slots = np.array([0, 0, 1, 3, 3]), np.array([0, 1, 0, 0, 1])
    assert given_short(found, rows, slots, np.array([2, 2, 2, 2])).tolist() == [True, False, False, False]
    assert not given_short(found, rows, slots, np.array([1, 0, 2, 2])).any()
    # As one list a row.
    assert given_short(found[:, 1:], rows, slots, np.full(4, 2)).tolist() == [True, True, False, False]


def test_what_has_collapsed() -> None:
    healthy = normal(500)
    assert collapse(healthy, "v") == ""
    assert collapse(healthy[:1], "v") == ""
    # Half of the items have a vector of their own.
    assert collapse(np.concatenate([healthy, np.ones((499, DIM), np.float32)]), "v") == ""
    assert "largely collapsed: 201 different ones among 500" in collapse(
        np.concatenate([healthy[:200], np.ones((300, DIM), np.float32)]), "v"
    )
    assert collapse(np.repeat(healthy[:5], 100, axis=0), "v", repeats=True) == ""
    assert "nearly collapsed" in collapse(np.ones((500, DIM), np.float32) + 1e-5 * healthy, "v")
    # A direction that all share hides nothing as long as they differ.
    assert collapse(np.ones((500, DIM), np.float32) + 0.01 * healthy, "v") == ""
    zeros = np.zeros((9, DIM), np.float32)
    zeros[::2] = -0.0
    assert "all 9 looked at are equal" in collapse(zeros, "v")


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 70), block=st.integers(1, 30), pile=st.integers(1, 500))
def test_shuffled_piles_are_the_drawn_order(tmp_path_factory, count: int, block: int, pile: int) -> None:
    folder = tmp_path_factory.mktemp("piles")
    vectors = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    shuffler = Shuffler(folder, drawn_places(count), 3, pile)
    for start in range(0, count, block):
        shuffler.add(vectors[start : start + block])
    np.testing.assert_array_equal(np.concatenate(list(shuffler.blocks())), vectors[drawn_order(count)])
    assert list(folder.iterdir()) == []
    assert sorted(drawn_order(count)) == list(range(count))
