"""The index as the command writes it, and what it refuses."""

import re
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.retrieval.index import NAMED_TYPES
from tzrec.retrieval.writing import verify, write_ids
from tzrec.runtime.errors import UserError
from tzrec.tools.create_faiss_index import main

ROOT = Path(__file__).parents[2]
DIM = 8


def units(count):
    x = np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def write(folder, ids, vectors):
    table = pa.table({"item_id": ids, "item_tower_emb": vectors})
    pq.write_table(table, folder / "items.parquet", row_group_size=100)
    return ["--embedding_input_path", f"{folder}/items.parquet", "--index_output_dir", f"{folder}/user"]


@pytest.mark.parametrize("kind", NAMED_TYPES)
@pytest.mark.parametrize("text", [False, True], ids=["lists", "text"])
def test_both_files_agree(tmp_path, capsys, kind, text):
    vectors = units(500)
    ids = [f"item № {i}" for i in range(500)] if text else [2**53 + i for i in range(500)]
    column = [",".join(map(repr, row)) for row in vectors.tolist()] if text else vectors.tolist()
    flags = write(tmp_path, ids, column)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "scripted_model.pt").write_text("stays")
    main([*flags, "--index_type", kind, "--batch_size", "64"])

    assert {p.name for p in (tmp_path / "user").iterdir()} == {
        "scripted_model.pt",
        "faiss_index",
        "id_mapping",
    }
    lines = (tmp_path / "user" / "id_mapping").read_text(encoding="utf-8").split("\n")
    assert lines == [*map(str, ids), ""]
    index = faiss.read_index(str(tmp_path / "user" / "faiss_index"))
    assert (index.ntotal, index.d) == (500, DIM)
    expected = faiss.METRIC_INNER_PRODUCT if kind.endswith("IP") else faiss.METRIC_L2
    assert index.metric_type == expected
    _, found = index.search(vectors, 1)
    assert (found[:, 0] == np.arange(500)).mean() > 0.98
    said = capsys.readouterr().out
    assert re.search(rf"^500 vectors of 8 numbers, {kind}.* MB, .* s, finds .*% .* ms a query", said, re.M)
    if kind.startswith("IVF"):
        # 500 vectors train 12 lists of 39; of 1,000 lists 800 would be probed, of 12 it is 10.
        assert (index.nlist, index.nprobe) == (12, 10)
        assert "12 lists, 10 probed" in said
    elif kind.startswith("HNSW"):
        assert (index.hnsw.efConstruction, index.hnsw.nb_neighbors(0)) == (200, 64)


def test_parameters_arrive(tmp_path):
    flags = write(tmp_path, [*range(500)], units(500).tolist())
    main([*flags, "--ivf_nlist", "5"])
    path = str(tmp_path / "user" / "faiss_index")
    index = faiss.read_index(path)
    assert (index.nlist, index.nprobe) == (5, 4)
    # A second run takes the place of the first.
    main([*flags, "--index_type", "HNSWFlatL2", "--hnsw_M", "8", "--hnsw_efConstruction", "50"])
    index = faiss.read_index(path)
    assert (index.hnsw.efConstruction, index.hnsw.nb_neighbors(0)) == (50, 16)


def test_the_same_table_gives_the_same_file(tmp_path):
    flags = write(tmp_path, [*range(1000)], units(1000).tolist())
    main([*flags, "--ivf_nlist", "3"])
    first = (tmp_path / "user" / "faiss_index").read_bytes()
    main([*flags, "--ivf_nlist", "3", "--batch_size", "7"])
    assert (tmp_path / "user" / "faiss_index").read_bytes() == first


def test_one_item(tmp_path, capfd):
    main(write(tmp_path, ["only"], units(1).tolist()))
    assert (tmp_path / "user" / "id_mapping").read_text() == "only\n"
    assert faiss.read_index(str(tmp_path / "user" / "faiss_index")).search(units(1), 1)[1] == [[0]]
    assert "WARNING" not in "".join(capfd.readouterr())


GOOD = units(120).tolist()
MISTAKES = {
    "id column": (["--id_field", "item"], None, None, 'no column "item"; did you mean "item_id"?'),
    "vector column": (["--embedding_field", "emb"], None, None, 'no column "emb"'),
    "kind": (["--index_type", "HNSWFlatIp"], None, None, 'did you mean "HNSWFlatIP"?'),
    "metric twice": (["--index_type", "FlatIP", "--metric", "L2"], None, None, "has its metric in its name"),
    "flag": (["--hnsw_m", "3"], None, None, 'did you mean "--hnsw_M"?'),
    "number": (["--ivf_nlist", "x"], None, None, '"x" is not a whole number'),
    "reader": (["--reader_type", "OdpsReader"], None, None, "supported: ParquetReader"),
    "URL": (["--index_output_dir", "memory://x"], None, None, "is a URL"),
    "file in the way": (["--index_output_dir", "TMP/items.parquet"], None, None, "is a file"),
    "id twice": ([], [*range(119), 5], None, "row 119 (counted from 0): the id '5' stands in row 5 already"),
    "null id": ([], [*range(119), None], None, "row 119 (counted from 0): the id is null or empty"),
    "empty id": ([], [*map(str, range(119)), ""], None, "null or empty"),
    "line break": ([], [*map(str, range(119)), "a\nb"], None, r"the id 'a\nb' contains a line break"),
    "NaN": (
        [],
        None,
        [*GOOD[:119], [float("nan")] * 8],
        "row 119 (counted from 0): holds a number that is NaN",
    ),
    "two lengths": ([], None, [*GOOD[:119], [1.0] * 7], "a vector of 7 numbers; the others have 8"),
    "null vector": ([], None, [*GOOD[:119], None], "has no vector"),
    "no rows": ([], pa.array([], pa.int64()), pa.array([], pa.list_(pa.float32())), "has no row"),
}


@pytest.mark.parametrize(("more", "ids", "vectors", "said"), MISTAKES.values(), ids=MISTAKES.keys())
@pytest.mark.parametrize("kind", ["IVFFlatIP", "HNSWFlatIP"])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, kind, more, ids, vectors, said):
    ids = [*range(120)] if ids is None else ids
    flags = write(tmp_path, ids, GOOD if vectors is None else vectors)
    with pytest.raises(UserError) as error:
        main([*flags, "--index_type", kind, *(word.replace("TMP", str(tmp_path)) for word in more)])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["items.parquet"]


def test_a_failed_run_leaves_the_index_that_is_there(tmp_path):
    main(write(tmp_path, [*range(120)], GOOD))
    before = {p.name: p.read_bytes() for p in (tmp_path / "user").iterdir()}
    with pytest.raises(UserError):
        main(write(tmp_path, [0] * 120, GOOD))
    assert {p.name: p.read_bytes() for p in (tmp_path / "user").iterdir()} == before


@pytest.mark.parametrize(("kind", "least"), [("IVF8,SQ8", 0.9), ("HNSW16,Flat", 0.9), ("PQ4x4", 0.1)])
def test_the_language_of_faiss(tmp_path, capsys, kind, least):
    flags = write(tmp_path, [*range(3000)], units(3000).tolist())
    main([*flags, "--index_type", kind, "--metric", "L2"])
    index = faiss.read_index(str(tmp_path / "user" / "faiss_index"))
    assert (index.ntotal, index.metric_type) == (3000, faiss.METRIC_L2)
    recall = float(re.search(r"finds ([\d.]+)%", capsys.readouterr().out)[1]) / 100
    assert least < recall <= 1


def test_a_graph_that_would_not_reach_its_items_is_linked_otherwise(tmp_path, capsys):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((2000, DIM)) + 5) * np.exp(0.5 * rng.standard_normal((2000, 1)))
    flags = write(tmp_path, [*range(2000)], vectors.tolist())
    main([*flags, "--index_type", "HNSWFlatIP", "--hnsw_M", "16", "--hnsw_efConstruction", "100"])
    said = capsys.readouterr().out
    assert re.search(r"linked by inner products finds .*, one linked by distances .*, which is used", said)
    assert "warning" not in said


def test_what_was_written_is_read_back(tmp_path):
    ids = pa.array(["a", "b b", "ü"], pa.large_string())
    index = faiss.IndexFlatIP(2)
    index.add(np.ones((3, 2), np.float32))
    write_ids(ids, tmp_path / "ids")
    verify(index, ids, tmp_path / "ids")
    for spoilt in ("a\nb b\n", "a\nb b\nu\n", "a\nb b\nü\nd\n"):
        (tmp_path / "ids").write_text(spoilt, encoding="utf-8")
        with pytest.raises(RuntimeError, match="read back"):
            verify(index, ids, tmp_path / "ids")
    with pytest.raises(RuntimeError, match="holds 3 vectors"):
        verify(index, ids.slice(1), tmp_path / "ids")


def test_an_index_that_finds_little_is_said_to(tmp_path, capsys):
    # Inner products over lengths from 1 to 1,000 in a sparse graph: much of it cannot be reached.
    vectors = np.random.default_rng(0).standard_normal((3000, DIM)) * np.logspace(0, 3, 3000)[:, None]
    flags = write(tmp_path, [*range(3000)], vectors.tolist())
    small = ["--index_type", "HNSWFlatIP", "--hnsw_M", "2", "--hnsw_efConstruction", "2"]
    main([*flags, *small])
    assert "warning: the index finds" in capsys.readouterr().out


def test_a_corrupt_table_has_status_two_and_one_line(tmp_path):
    flags = write(tmp_path, [*range(120)], GOOD)
    path = tmp_path / "items.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 400 + whole[600:])
    done = subprocess.run(
        [sys.executable, "-m", "tzrec.tools.create_faiss_index", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert done.returncode == 2, done.stderr
    assert len(errors) == 1
    assert errors[0].startswith(f"tzrec.tools.create_faiss_index: error: {path}: cannot be read as parquet")
    assert not (tmp_path / "user").exists()
