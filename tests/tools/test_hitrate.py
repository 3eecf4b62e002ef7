"""The command as a user runs it: in one process, under torchrun, and with mistakes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.runtime.errors import UserError
from tzrec.tools.hitrate import main

ROOT = Path(__file__).parents[2]
DIM = 8


def command(*flags, ranks=1):
    launcher = [sys.executable, "-m"]
    if ranks > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    return subprocess.run(
        [*launcher, "tzrec.tools.hitrate", *flags],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def write(folder, items=None, users=None, rows=101):
    """A pool of 300 items and user rows near their ground truth; `items` and `users` replace columns."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, DIM)).astype(np.float32)
    gt = rng.integers(0, 300, rows)
    near = (vectors[gt] + rng.standard_normal((rows, DIM))).astype(np.float32)
    pool = {"item_id": [2**53 + i for i in range(300)], "item_tower_emb": vectors.tolist()}
    requests = {
        "request_id": [f"user {i % 5}" for i in range(rows)],
        "gt_items": [None if i % 10 == 3 else str(2**53 + int(g)) for i, g in enumerate(gt)],
        "user_tower_emb": near.tolist(),
    }
    (folder / "users").mkdir(exist_ok=True)
    pq.write_table(pa.table({**pool, **(items or {})}), folder / "items.parquet")
    table = pa.table({**requests, **(users or {})})
    pq.write_table(table.slice(0, 30), folder / "users" / "part-0.parquet")
    pq.write_table(table.slice(30), folder / "users" / "part-1.parquet", row_group_size=17)
    # The backslash is what a quoted glob keeps.
    return [
        "--user_gt_input",
        f"{folder}/users/\\*.parquet",
        "--item_embedding_input",
        f"{folder}/items.parquet",
    ]


def total_line(done):
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^Total HitRate@.*$", done.stdout, re.M)
    return line


def test_two_processes_say_what_one_says(tmp_path):
    flags = [*write(tmp_path), "--top_k", "5", "--ivf_nlist", "4", "--ivf_nprobe", "2"]
    lines = []
    for ranks in (1, 2):
        outputs = [tmp_path / f"total {ranks}", tmp_path / f"details {ranks}"]
        done = command(
            *flags,
            *("--total_hitrate_output", outputs[0], "--hitrate_details_output", outputs[1]),
            *("--batch_size", str(1000 // ranks**3), "--report", tmp_path / f"report {ranks}.html"),
            *("--popularity_input", flags[1], "--popularity_field", "gt_items"),
            ranks=ranks,
        )
        lines.append(total_line(done))
        assert [p.name for p in outputs[0].iterdir()] == ["part-0.parquet"]
        assert sorted(p.name for p in outputs[1].iterdir()) == [f"part-{r}.parquet" for r in range(ranks)]
    assert lines[0] == lines[1]
    rate, hits, items, rows, without = re.findall(r"[\d.]+", lines[0].split(":")[1])
    assert (items, rows, without) == ("91", "91", "10")
    assert 0 < int(hits) < 91
    assert float(rate) == round(int(hits) / 91, 4)

    one, two = (pq.read_table(tmp_path / f"details {ranks}") for ranks in (1, 2))
    assert one.equals(two)
    assert one["id"].to_pylist() == [f"user {i % 5}" for i in range(101)]
    assert sum(len(found) for found in one["hit_ids"].to_pylist()) == int(hits)
    assert one["hitrate"].null_count == 10
    assert pq.read_table(tmp_path / "total 2").to_pydict() == {"hitrate": [int(hits) / 91]}
    left = {p.name for p in tmp_path.iterdir()}
    pages = ["report 1.html", "report 2.html"]
    assert left == {"items.parquet", "users", "total 1", "total 2", "details 1", "details 2", *pages}
    assert (tmp_path / pages[0]).read_bytes() == (tmp_path / pages[1]).read_bytes()


def test_more_ranks_than_rows(tmp_path):
    flags = [*write(tmp_path, rows=1), "--hitrate_details_output", tmp_path / "details"]
    assert "1 ground-truth items, 1 rows, 0 without" in total_line(command(*flags, ranks=2))
    assert len(pq.read_table(tmp_path / "details")) == 1


def test_a_mistake_in_one_rank_ends_all_with_one_line(tmp_path):
    vectors = np.ones((101, DIM), np.float32)
    vectors[90, 2] = np.nan
    flags = write(tmp_path, users={"user_tower_emb": vectors.tolist()})
    done = command(*flags, "--hitrate_details_output", tmp_path / "details", ranks=2)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("tzrec.tools.hitrate: error:")]
    assert len(lines) == 1
    assert 'column "user_tower_emb", row 90' in lines[0]
    assert 'Traceback (most recent call last):\n  File "' + str(ROOT) not in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"items.parquet", "users"}


def test_several_k_and_measures_in_one_pass(tmp_path, capsys):
    flags = write(tmp_path, users={"seen": [[2**53 + i] for i in range(101)]})
    more = ["--exclude_items_field", "seen", "--metrics", "all", "--popularity_input", flags[1]]
    more += ["--popularity_field", "gt_items", "--index_type", "FlatIP"]
    main([*flags, *more, "--top_k", "20,5", "--total_hitrate_output", f"{tmp_path}/total"])
    said = capsys.readouterr().out
    table = pq.read_table(tmp_path / "total").to_pydict()
    assert list(table) == ["top_k", "hitrate", "ndcg", "mrr", "coverage", "popular", "random"]
    assert table["top_k"] == [5, 20]
    for name, (five, twenty) in table.items():
        assert 0 < five < twenty, name
    for k, rate, ndcg in zip(table["top_k"], table["hitrate"], table["ndcg"], strict=True):
        assert f"Total HitRate@{k}: {rate:.4f} " in said
        assert f"NDCG @{k}: {ndcg:.4f}\n" in said
        main([*flags, *more[:2], *more[-2:], "--top_k", str(k)])
        assert f"Total HitRate@{k}: {rate:.4f} " in capsys.readouterr().out
    assert "search: every item" in said


def test_the_way_of_searching_is_said_and_does_not_matter(tmp_path, capsys):
    said = {}
    for shards in ([], ["--shard_items", "77"]):
        # One list of seven: through the lists, unless the pool has several shards.
        main([*write(tmp_path), "--ivf_nlist", "7", "--ivf_nprobe", "1", "--top_k", "9", *shards])
        said[bool(shards)] = capsys.readouterr().out.splitlines()
    assert "search: the 1 lists of each query" in said[False]
    assert any(line.startswith("search: every item in 4 shards, of which") for line in said[True])
    assert said[False][-1] == said[True][-1]


@pytest.mark.parametrize("across", [False, True])
def test_several_interests(tmp_path, across):
    rng = np.random.default_rng(1)
    vectors = np.eye(DIM, dtype=np.float32)
    # Each row looks for item 0 with its first vector, for its ground truth with its second.
    gt = rng.integers(1, DIM, 101)
    pairs = np.stack([2 * vectors[np.zeros(101, int)], vectors[gt]], axis=1)
    flags = write(
        tmp_path,
        items={
            "item_id": [*range(300)],
            "item_tower_emb": [*vectors.tolist(), *np.zeros((292, DIM)).tolist()],
        },
        users={
            "gt_items": gt,
            "user_tower_emb": [";".join(",".join(map(str, v)) for v in row) for row in pairs],
            "count": [2] * 100 + [1],
        },
    )
    flags += ["--num_interests", "2", "--num_interests_field", "count", "--top_k", "1", "--ivf_nlist", "1"]
    line = total_line(command(*flags, *(["--topk_across_interests"] if across else [])))
    assert f"hits {0 if across else 100} of 101" in line


def test_help_and_one_process_do_without_torch(tmp_path):
    code = (
        "import sys; from tzrec.tools.hitrate import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    for flags in (["--help"], write(tmp_path)):
        done = subprocess.run(
            [sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


MISTAKES = {
    "flag": (["--top_kk", "3"], {}, {}, 'unknown flag --top_kk; did you mean "--top_k"?'),
    "number": (["--top_k", "0"], {}, {}, '"0" is not a whole number of at least 1'),
    "kind": (["--index_type", "HNSWFlatIP"], {}, {}, "IVFFlatIP"),
    "measure": (["--metrics", "ndgc"], {}, {}, 'did you mean "ndcg"?'),
    "nothing popular": (["--metrics", "popular"], {}, {}, "give --popularity_input"),
    "popularity for nothing": (["--popularity_input", "TMP/users"], {}, {}, "nothing uses it"),
    "no popularity": (
        ["--metrics", "popular", "--popularity_input", "TMP/none"],
        {},
        {},
        "--popularity_input: ",
    ),
    "popularity column": (
        ["--metrics", "popular", "--popularity_input", "TMP/users", "--popularity_field", "gt_item"],
        {},
        {},
        'did you mean "gt_items"?',
    ),
    "ranked interests": (["--num_interests", "2", "--metrics", "mrr"], {}, {}, "--topk_across_interests"),
    "several numbers": (["--top_k", "5,x"], {}, {}, '"x" is not a whole number'),
    "excluded column": (["--exclude_items_field", "seen"], {}, {}, 'no column "seen"'),
    "report taken": (["--report", "TMP/items.parquet"], {}, {}, "is there already"),
    "report elsewhere": (["--report", "memory://a.html"], {}, {}, "is a URL"),
    "reader": (["--reader_type", "CsvReader"], {}, {}, "supported: ParquetReader"),
    "writer": (["--writer_type", "ParquetWritr"], {}, {}, 'did you mean "ParquetWriter"?'),
    "column": (["--item_id_field", "item"], {}, {}, 'no column "item"; did you mean "item_id"?'),
    "ground truth column": (["--gt_items_field", "gt_item"], {}, {}, 'did you mean "gt_items"?'),
    "no file": (
        ["--user_gt_input", "nowhere/*.parquet"],
        {},
        {},
        "--user_gt_input: nowhere/*.parquet matches no",
    ),
    "taken": (["--hitrate_details_output", "TMP/users"], {}, {}, "holds something"),
    "outputs": (
        ["--hitrate_details_output", "TMP/a", "--total_hitrate_output", "TMP/a/b"],
        {},
        {},
        "lies within",
    ),
    "id twice": ([], {"item_id": [7] * 300}, {}, "the id '7' stands in row 0 already (299 such rows)"),
    "dimension": ([], {}, {"user_tower_emb": [[1.0]] * 101}, "those of the items have 8"),
    "interests": ([], {}, {"user_tower_emb": [[1.0] * 16] * 101}, "--num_interests"),
    "ground truth type": ([], {}, {"gt_items": [1.5] * 101}, "ids are integers or text"),
    "no ground truth": ([], {}, {"gt_items": [""] * 101}, "none of 101 rows has ground truth"),
}


@pytest.mark.parametrize(("more", "items", "users", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, more, items, users, said):
    flags = write(tmp_path, items, users)
    before = sorted(tmp_path.rglob("*"))
    more = [word.replace("TMP", str(tmp_path)) for word in more]
    if "--hitrate_details_output" not in more:
        more += ["--hitrate_details_output", f"{tmp_path}/details"]
    with pytest.raises(UserError) as error:
        main(flags + more)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_has_status_two(tmp_path):
    (tmp_path / "items.parquet").write_text("not parquet")
    done = command(
        "--user_gt_input", str(tmp_path), "--item_embedding_input", str(tmp_path / "items.parquet")
    )
    assert done.returncode == 2
    assert re.fullmatch(
        r"tzrec\.tools\.hitrate: error: [^\n]* cannot be read as parquet [^\n]*\n", done.stderr
    )
    assert done.stdout == ""
