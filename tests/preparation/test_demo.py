from pathlib import Path

import numpy as np
import pytest

from tests.preparation.support import config, features, negatives, read, rows
from tzrec.preparation import ads, demo
from tzrec.runtime.errors import UserError

SIZE = demo.Size(users=900, items=700, train_rows=5_000, eval_users=300)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert demo.write(folder, "data/demo", SIZE, 1, 1.0) == {
        "train": 5_000,
        "eval": 300,
        "item": 700,
        "negatives": 700,
    }
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(written, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        demo.write(tmp_path / name, "data/demo", SIZE, seed, 1.0)
    assert contents(tmp_path / "a") == contents(written)
    assert (
        contents(tmp_path / "b")["train/part-00000.parquet"] != contents(written)["train/part-00000.parquet"]
    )


def test_tables_have_the_tutorials_columns(written):
    train = read(written / "train")
    assert train.schema.equals(ads.ROW_SCHEMA)
    assert read(written / "eval").schema.equals(ads.ROW_SCHEMA)
    assert read(written / "item").schema.equals(ads.ITEM_SCHEMA)
    assert len(list((written / "train").iterdir())) == 2
    assert set(train["clk"].to_pylist()) == {1}
    assert set(train["pid"].to_pylist()) == {"430548_1007", "430539_1007"}


def test_train_is_a_week_in_order_and_eval_the_day_after(written):
    begin, end = ads.FIRST_SECOND, ads.FIRST_SECOND + 7 * ads.DAY
    train = read(written / "train")["time_stamp"].to_numpy()
    held_out = read(written / "eval")["time_stamp"].to_numpy()
    assert (np.diff(train) >= 0).all()
    assert begin == train.min()
    assert train.max() < end <= held_out.min()
    assert held_out.max() < end + ads.DAY


def test_values_are_inside_the_buckets_of_the_configuration(written):
    pipeline = config(written / "pipeline.config")
    tables = [read(written / name) for name in ("train", "eval", "item")]
    for name, feature in features(pipeline).items():
        if name in ("pid", "price"):
            continue
        values = [table[name].drop_null().to_numpy() for table in tables if name in table.schema.names]
        assert min(value.min() for value in values) >= 0, name
        assert max(value.max() for value in values) < feature.num_buckets, name
    assert features(pipeline)["adgroup_id"].num_buckets == 701
    assert features(pipeline)["user_id"].num_buckets == 901


def test_eval_users_are_in_train_and_their_items_are_held_out(written):
    train = rows(read(written / "train"), "user_id", "adgroup_id")
    held_out = rows(read(written / "eval"), "user_id", "adgroup_id")
    assert len({user for user, _ in held_out}) == 300
    assert {user for user, _ in held_out} <= {user for user, _ in train}
    assert not set(held_out) & set(train)


def test_every_row_has_its_item_and_its_user_unchanged(written):
    pool = {row[0]: row for row in rows(read(written / "item"), *ads.ITEM_COLUMNS)}
    assert sorted(pool) == list(range(1, 701))
    train = read(written / "train")
    assert all(pool[row[0]] == row for row in rows(train, *ads.ITEM_COLUMNS))
    users = set(rows(train, *ads.USER_BUCKETS))
    assert len(users) == len({user[0] for user in users})


def test_negative_table_counts_the_clicks(written):
    clicks = np.bincount(read(written / "train")["adgroup_id"].to_numpy(), minlength=701)
    lines = negatives(written / "negatives.txt")
    assert [weight for _, weight, _ in lines] == (clicks[1:] + 1).tolist()
    pool = rows(read(written / "item"), *ads.ITEM_COLUMNS)
    for (key, _, attributes), item in zip(lines, pool, strict=True):
        assert key == item[0]
        values = [float(text) if text else None for text in attributes]
        assert values == list(item)
    assert any(attributes[4] == "" for _, _, attributes in lines)


def test_configuration_points_to_the_tables(written):
    pipeline = config(written / "pipeline.config")
    assert pipeline.train_input_path == "data/demo/train/*.parquet"
    assert pipeline.eval_input_path == "data/demo/eval/*.parquet"
    sampler = pipeline.data_config.negative_sampler
    assert sampler.input_path == "data/demo/negatives.txt"
    assert list(sampler.attr_fields) == ads.ITEM_COLUMNS
    assert sampler.attr_delimiter == "\x02"


@pytest.mark.parametrize(
    "size", [demo.Size(1, 2, 1, 1), demo.Size(100, 40, 100, 20), demo.Size(50, 2000, 70_000, 50)]
)
def test_any_size(tmp_path, size):
    demo.write(tmp_path, "x", size, 3, 0.0)
    train, held_out = read(tmp_path / "train"), read(tmp_path / "eval")
    assert (train.num_rows, held_out.num_rows) == (size.train_rows, size.eval_users)
    pairs = rows(train, "user_id", "adgroup_id")
    assert not set(rows(held_out, "user_id", "adgroup_id")) & set(pairs)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (demo.Size(users=10, eval_users=11), "at most 10"),
        (demo.Size(train_rows=10, eval_users=11), "at most 10"),
        (demo.Size(items=1), "--items 1 is too small"),
    ],
)
def test_sizes_that_cannot_be(size, message):
    with pytest.raises(UserError, match=message):
        demo.generate(size, 1)


def test_hidden_structure_is_worth_learning():
    """Hit rate at 200 of: chance, the popular items, popularity within a segment, the hidden tastes."""
    size, top_k = demo.Size(), 200
    clicks = demo.generate(size, 1)
    world = clicks.world
    users, items = (np.concatenate(part) for part in zip(*clicks.train(1), strict=True))
    asked, wanted = clicks.eval_users[:2_000], clicks.eval_items[:2_000]

    counts = np.bincount(items, minlength=size.items)
    popular = np.isin(wanted, np.argsort(-counts, kind="stable")[:top_k]).mean()

    segment, hits = world.users.columns["cms_segid"], 0
    for value in range(97):
        own = np.bincount(items[segment[users] == value], minlength=size.items) + 1e-6 * counts
        best = np.argsort(-own, kind="stable")[:top_k]
        hits += np.isin(wanted[segment[asked] == value], best).sum()
    by_segment = hits / len(asked)

    hits = 0
    for start in range(0, len(asked), 500):
        part = slice(start, start + 500)
        scores = world.cell_chances(asked[part])[:, world.items.cell] * world.items.popularity
        own = scores[np.arange(len(scores)), wanted[part]]
        hits += ((scores > own[:, None]).sum(axis=1) < top_k).sum()
    oracle = hits / len(asked)

    chance = top_k / size.items
    assert popular > 5 * chance
    assert by_segment > 3 * popular
    assert oracle > 5 * popular
