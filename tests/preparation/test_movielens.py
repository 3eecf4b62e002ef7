from pathlib import Path

import pyarrow as pa
import pytest

from tests.preparation.support import config, features, negatives, read, rows
from tzrec.preparation import movielens
from tzrec.runtime.errors import UserError

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ml-100k"


def flags(*genres: int) -> str:
    return "|".join("1" if place in genres else "0" for place in range(19))


USERS_100K = ["1|24|M|technician|85711", "2|53|F|other|94043", "3|30|F|writer|T8H1N", "4|7|M|student|"]
ITEMS_100K = [
    f"10|Toy Story (1995)|01-Jan-1995||http://x|{flags(3, 4, 5)}",
    f"11|Misérables, Les (1998)|02-May-1997||http://x|{flags(8)}",
    f"12|unknown||||{flags(0)}",
    f"13|Untold (1931)||||{flags()}",
]
# user, item, rating, time; users 1 and 2 have ties, user 3 a single rating.
RATINGS = [
    (1, 10, 5, 200),
    (2, 13, 3, 100),
    (1, 12, 4, 100),
    (2, 10, 1, 100),
    (1, 11, 2, 200),
    (3, 11, 4, 50),
    (2, 11, 2, 99),
]


def write_100k(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "u.user").write_text("".join(f"{line}\n" for line in USERS_100K), "latin-1")
    (folder / "u.item").write_text("".join(f"{line}\n" for line in ITEMS_100K), "latin-1")
    (folder / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in RATINGS), "latin-1")
    return folder


def write_1m(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    users = ["1::M::24::12::85711", "2::F::50::0::94043-1", "3::F::25::3::02138", "4::M::1::10::48067"]
    movies = [
        "10::Toy Story (1995)::Animation|Children's|Comedy",
        "11::Misérables, Les (1998)::Drama",
        "12::unknown::Film-Noir",
        "13::Untold (1931)::War",
    ]
    (folder / "users.dat").write_text("".join(f"{line}\n" for line in users), "latin-1")
    (folder / "movies.dat").write_text("".join(f"{line}\n" for line in movies), "latin-1")
    (folder / "ratings.dat").write_text(
        "".join("::".join(map(str, row)) + "\n" for row in RATINGS), "latin-1"
    )
    return folder


def prepare(source: Path, target: Path, history_length: int = 50, power: float = 1.0) -> dict[str, int]:
    target.mkdir()
    return movielens.write(target, "data/ml", str(source), history_length, power)


@pytest.fixture(params=[write_100k, write_1m], ids=["ml-100k", "ml-1m"])
def written(request, tmp_path):
    counts = prepare(request.param(tmp_path / "in"), tmp_path / "out")
    assert counts == {"train": 5, "eval": 2, "item": 4, "negatives": 4}
    return tmp_path / "out"


def test_the_last_rating_is_held_out_and_the_later_line_wins_a_tie(written):
    columns = ("user_id", "item_id", "rating", "timestamp", "history")
    assert rows(read(written / "eval"), *columns) == [
        (1, 11, 2, 200, [12, 10]),
        (2, 10, 1, 100, [11, 13]),
    ]
    assert rows(read(written / "train"), *columns) == [
        (3, 11, 4, 50, []),
        (2, 11, 2, 99, []),
        (1, 12, 4, 100, []),
        (2, 13, 3, 100, [11]),
        (1, 10, 5, 200, [12]),
    ]
    assert read(written / "train").schema.equals(movielens.ROW_SCHEMA)


def test_negative_table_counts_training_rows(written):
    lines = negatives(written / "negatives.txt")
    assert [(key, weight) for key, weight, _ in lines] == [(10, 2), (11, 3), (12, 2), (13, 2)]
    assert lines[0][2] == ["10", "Animation\x1dChildren's\x1dComedy", "1995"]


def test_configuration(written):
    pipeline = config(written / "pipeline.config")
    made = features(pipeline)
    assert list(made) == [
        "user_id", "gender", "age", "occupation", "zip_prefix", "history",
        "item_id", "genres", "release_year",
    ]  # fmt: skip
    assert made["user_id"].num_buckets == 5
    assert made["item_id"].num_buckets == made["history"].num_buckets == 14
    assert made["history"].embedding_name == made["item_id"].embedding_name
    assert made["history"].pooling == "mean"
    assert list(made["gender"].vocab_list) == ["F", "M"]
    assert set(made["genres"].vocab_list) >= {"Animation", "Children's", "Comedy", "Drama"}
    assert pipeline.train_input_path == "data/ml/train/*.parquet"
    assert list(pipeline.data_config.negative_sampler.attr_fields) == ["item_id", "genres", "release_year"]


def test_items_of_ml_100k(tmp_path):
    prepare(write_100k(tmp_path / "in"), tmp_path / "out")
    assert rows(read(tmp_path / "out" / "item"), "item_id", "title", "genres", "release_year") == [
        (10, "Toy Story (1995)", ["Animation", "Children's", "Comedy"], 1995),
        (11, "Misérables, Les (1998)", ["Drama"], 1997),
        (12, "unknown", ["unknown"], None),
        (13, "Untold (1931)", [], 1931),
    ]
    users = set(rows(read(tmp_path / "out" / "train"), *movielens.USER_SCHEMA.names))
    assert users == {
        (1, "M", 24, "technician", "85"),
        (2, "F", 53, "other", "94"),
        (3, "F", 30, "writer", "T8"),
    }


def test_items_and_users_of_ml_1m(tmp_path):
    prepare(write_1m(tmp_path / "in"), tmp_path / "out")
    assert rows(read(tmp_path / "out" / "item"), "item_id", "title", "genres", "release_year")[1:3] == [
        (11, "Misérables, Les (1998)", ["Drama"], 1998),
        (12, "unknown", ["Film-Noir"], None),
    ]
    users = set(rows(read(tmp_path / "out" / "train"), *movielens.USER_SCHEMA.names))
    assert (2, "F", 50, "0", "94") in users


def test_history_is_capped_and_never_holds_the_target(tmp_path):
    source = write_100k(tmp_path / "in")
    ratings = [(1, item, 3, time) for time, item in enumerate([10, 11, 12, 13, 11, 10])]
    (source / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in ratings))
    prepare(source, tmp_path / "out", history_length=3)
    assert rows(read(tmp_path / "out" / "train"), "item_id", "history") == [
        (10, []),
        (11, [10]),
        (12, [10, 11]),
        (13, [10, 11, 12]),
        (11, [12, 13]),
    ]
    assert rows(read(tmp_path / "out" / "eval"), "item_id", "history") == [(10, [12, 13, 11])]
    lists = movielens.Events(movielens.read(str(source)).ratings).history(pa.array([5, 0]).to_numpy(), 50)
    assert lists.to_pylist() == [[11, 12, 13, 11], []]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("u.data", "1\t10\t5", r"u\.data:8: 3 fields"),
        ("u.data", "", r"u\.data:8: 1 fields"),
        ("u.data", "1\tx\t5\t7", r"u\.data:8: the item id is 'x'"),
        ("u.data", "1\t-1\t5\t7", r"u\.data:8: the item id is '-1'"),
        ("u.data", "9\t10\t5\t7", r"u\.data:8: user 9 is not in u\.user"),
        ("u.data", "1\t99\t5\t7", r"u\.data:8: item 99 is not in u\.item"),
        ("u.item", f"10|Again|||x|{flags()}", r"u\.item:5: item 10 stands in this file twice"),
        ("u.item", f"14|Odd|||x|{flags()[:-1]}2", r"u\.item:5: the genres are"),
        ("u.user", "5|x|M|other|1", r"u\.user:5: the age is 'x'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, name, line, message):
    source = write_100k(tmp_path / "in")
    with (source / name).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UserError, match=message):
        prepare(source, tmp_path / "out")


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither ml-100k"):
        movielens.read(str(tmp_path))
    with pytest.raises(UserError, match="is no folder"):
        movielens.read(str(tmp_path / "nothing"))
    (write_100k(tmp_path / "in") / "u.user").unlink()
    with pytest.raises(UserError, match=r"lacks u\.user"):
        movielens.read(str(tmp_path / "in"))


@pytest.mark.skipif(not REAL.is_dir(), reason="skipped: no real data")
def test_real_ml_100k(tmp_path):
    counts = prepare(REAL, tmp_path / "out")
    assert counts == {"train": 99_057, "eval": 943, "item": 1_682, "negatives": 1_682}
    train, held_out = read(tmp_path / "out" / "train"), read(tmp_path / "out" / "eval")
    assert len(set(held_out["user_id"].to_pylist())) == 943
    assert not set(rows(held_out, "user_id", "item_id")) & set(rows(train, "user_id", "item_id"))
    for table in (train, held_out):
        assert all(item not in before for item, before in rows(table, "item_id", "history"))
    assert max(len(before) for before in train["history"].to_pylist()) == 50
    assert sum(weight for _, weight, _ in negatives(tmp_path / "out" / "negatives.txt")) == 99_057 + 1_682
