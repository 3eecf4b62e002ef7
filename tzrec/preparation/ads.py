"""The columns of Taobao's advertisement data, and the DSSM configuration over them.

Shared by the real data (`taobao`) and by the generated data of the same shape (`demo`).
"""

from collections.abc import Mapping

import pyarrow as pa

from tzrec.preparation.config_text import Feature, Paths, Recipe, pipeline_text

# A column and how many buckets it has for the real data, as the tutorial's configuration says.
USER_BUCKETS = {
    "user_id": 1141730,
    "cms_segid": 98,
    "cms_group_id": 14,
    "final_gender_code": 3,
    "age_level": 8,
    "pvalue_level": 5,
    "shopping_level": 5,
    "occupation": 3,
    "new_user_class_level": 6,
}
ITEM_BUCKETS = {
    "adgroup_id": 846812,
    "cate_id": 12961,
    "campaign_id": 423438,
    "customer": 255877,
    "brand": 461498,
}
PID_BUCKETS = 20
# 50 edges, evenly spaced by ratio from 1 to 10,000 and rounded, closer between 20 and 300.
# fmt: off
PRICE_EDGES = (
    1, 2, 3, 5, 7, 9, 12, 15, 18, 21, 25, 29, 33, 38, 43, 49, 55, 62, 69, 78, 88, 98, 108, 119, 129,
    139, 149, 159, 169, 188, 199, 228, 258, 288, 328, 368, 418, 480, 550, 640, 760, 900, 1100, 1400,
    1800, 2400, 3200, 4500, 6500, 10000,
)
# fmt: on

ITEM_COLUMNS = [*ITEM_BUCKETS, "price"]
ITEM_SCHEMA = pa.schema([*((name, pa.int64()) for name in ITEM_BUCKETS), ("price", pa.float64())])
ROW_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in USER_BUCKETS),
        ("pid", pa.string()),
        *ITEM_SCHEMA,
        ("clk", pa.int64()),
        ("time_stamp", pa.int64()),
    ]
)

# The first second of 2017-05-06 in Asia/Shanghai (UTC+8): seven days train, the eighth evaluates.
FIRST_SECOND = 1494000000
DAY = 86_400
TRAIN_DAYS = 7

TAOBAO_RECIPE = Recipe(
    batch_size=8192,
    epochs=1,
    sparse_lr=0.001,
    dense_lr=0.001,
    negatives=1024,
    embedding_dim=16,
    hidden_units=(512, 256, 128),
    output_dim=64,
    temperature=0.05,
    workers=8,
)


def features(buckets: Mapping[str, int]) -> list[Feature]:
    """The features of both towers.

    Args:
        buckets: of every id column of the users and of the items.
    """

    def ids(side: str, names: Mapping[str, int]) -> list[Feature]:
        return [Feature("id_feature", side, name, [("num_buckets", buckets[name])]) for name in names]

    pid = Feature("id_feature", "user", "pid", [("hash_bucket_size", PID_BUCKETS)])
    price = Feature("raw_feature", "item", "price", [("boundaries", PRICE_EDGES)])
    return [*ids("user", USER_BUCKETS), pid, *ids("item", ITEM_BUCKETS), price]


def config_text(title: str, paths: Paths, buckets: Mapping[str, int], recipe: Recipe) -> str:
    """The DSSM configuration over these columns."""
    return pipeline_text(title, paths, features(buckets), recipe, "adgroup_id", ITEM_COLUMNS, "clk")
