"""A small world of users and advertisements with hidden tastes, in the shape of Taobao's data.

Every item belongs to one hidden taste (what it is) and one hidden tier (how dear it is); the
two together are its cell. Its category, customer, campaign and brand belong to its taste, its
price follows taste and tier. Every user has a main taste, a second one and a tier; segment,
gender, age and the levels follow them with noise. A click picks a taste of the user's, a tier
near the user's, and an item of that cell by its popularity, which follows Zipf's law.
"""

from dataclasses import dataclass

import numpy as np

MISSING = -1
TIERS = 3
# How a click chooses among main taste, second taste and any taste by its popularity.
MAIN, SECOND = 0.7, 0.2
# The chance that a click stays in the user's tier; else any tier.
OWN_TIER = 0.7
# Zipf: popularity of the r-th item of a taste and tier is (r + SHIFT) ** -EXPONENT.
EXPONENT, SHIFT = 0.9, 5.0


@dataclass(frozen=True)
class Items:
    """The pool, sorted by cell and by falling popularity within a cell; I items.

    Attributes:
        columns: name -> int64 [I] (MISSING is null) or float64 [I] (price).
        cell: int64 [I], taste * TIERS + tier.
        popularity: float64 [I], positive; sums to 1 over each cell.
        first: int64 [cells + 1], where each cell begins.
    """

    columns: dict[str, np.ndarray]
    cell: np.ndarray
    popularity: np.ndarray
    first: np.ndarray


@dataclass(frozen=True)
class Users:
    """All users; U of them.

    Attributes:
        columns: name -> int64 [U], MISSING is null.
        main, second: int64 [U], tastes.
        tier: int64 [U].
        activity: float64 [U], how much more than others a user clicks.
    """

    columns: dict[str, np.ndarray]
    main: np.ndarray
    second: np.ndarray
    tier: np.ndarray
    activity: np.ndarray


@dataclass(frozen=True)
class World:
    """Items, users, and how popular each taste is (float64 [tastes], sums to 1)."""

    items: Items
    users: Users
    tastes: np.ndarray

    def cell_chances(self, users: np.ndarray) -> np.ndarray:
        """The chance of every cell to hold a user's next click: float64 [len(users), cells].

        Times `items.popularity` it is the chance of an item: the best ranking there can be.

        Args:
            users: int64, positions in `users` (user_id - 1).
        """
        taste = (1 - MAIN - SECOND) * np.tile(self.tastes, (len(users), 1))
        rows = np.arange(len(users))
        taste[rows, self.users.main[users]] += MAIN
        taste[rows, self.users.second[users]] += SECOND
        tier = np.full((len(users), TIERS), (1 - OWN_TIER) / TIERS)
        tier[rows, self.users.tier[users]] += OWN_TIER
        return (taste[:, :, None] * tier[:, None, :]).reshape(len(users), -1)

    def click(self, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An item for each of these users: int64 positions in `items` (adgroup_id is elsewhere)."""
        count = len(users)
        kind = rng.random(count)
        by_popularity = np.searchsorted(np.cumsum(self.tastes)[:-1], rng.random(count))
        taste = np.where(kind < MAIN + SECOND, self.users.second[users], by_popularity)
        taste = np.where(kind < MAIN, self.users.main[users], taste)
        stays = rng.random(count) < OWN_TIER
        tier = np.where(stays, self.users.tier[users], rng.integers(0, TIERS, count))
        # The running sum of popularities grows by 1 a cell, up to rounding.
        running = np.concatenate([[0.0], np.cumsum(self.items.popularity)])
        cell = taste * TIERS + tier
        low, high = self.items.first[cell], self.items.first[cell + 1]
        at = running[low] + rng.random(count) * (running[high] - running[low])
        return np.clip(np.searchsorted(running, at, side="right") - 1, low, high - 1)


def build(users: int, items: int, seed: int) -> World:
    """The world of this seed.

    Args:
        users, items: how many; at least 1 and at least 2.
        seed: another seed, another world.
    """
    # Enough items in a cell for a ranking, and no more tastes than segments can tell apart.
    count = int(np.clip(items // 600, 1, 32))
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(count)
    tastes = 1.0 / (np.arange(count) + 6.0) ** 0.5
    tastes = (tastes / tastes.sum())[order]
    return World(
        _items(items, tastes, np.random.default_rng([seed, 1])),
        _users(users, tastes, np.random.default_rng([seed, 2])),
        tastes,
    )


def _owned(owner: np.ndarray, owners: int, names: int, rng: np.random.Generator) -> np.ndarray:
    """A name for each thing such that every name has one owner: int64, from 1 to `names`.

    Name n belongs to owner (n - 1) % owners; those of an owner are taken by Zipf's law.
    """
    each = max(1, names // owners)
    rank = np.floor(each ** rng.random(len(owner)) - 1).astype(np.int64)
    return np.minimum(rank * owners + owner, max(names, owners) - 1) % names + 1


def _items(count: int, tastes: np.ndarray, rng: np.random.Generator) -> Items:
    cells = len(tastes) * TIERS
    # Popular tastes have more items, though not in proportion; every cell has at least one if it can.
    share = np.sqrt(np.repeat(tastes, TIERS))
    cell = np.searchsorted(np.cumsum(share / share.sum())[:-1], rng.random(count))
    cell[: min(cells, count)] = np.arange(min(cells, count))
    cell = np.sort(cell)
    first = np.searchsorted(cell, np.arange(cells + 1))
    popularity = (np.arange(count) - first[cell] + SHIFT) ** -EXPONENT
    popularity /= np.bincount(cell, popularity, cells)[cell]
    taste, tier = cell // TIERS, cell % TIERS
    sizes = item_buckets(count)
    customer = _owned(taste, len(tastes), sizes["customer"] - 1, rng)
    brand = _owned(taste, len(tastes), sizes["brand"] - 1, rng)
    middle = rng.normal(4.6, 0.6, len(tastes))[taste] + 0.9 * (tier - 1)
    columns = {
        # Ids in another order than the hidden one, so that an id says nothing by itself.
        "adgroup_id": rng.permutation(count) + 1,
        "cate_id": _owned(taste, len(tastes), sizes["cate_id"] - 1, rng),
        "campaign_id": _campaigns(customer, sizes, rng),
        "customer": customer,
        "brand": np.where(rng.random(count) < 0.29, MISSING, brand),
        "price": np.round(np.exp(rng.normal(middle, 0.4)), 2),
    }
    return Items(columns, cell, popularity, first)


def _campaigns(customer: np.ndarray, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    return _owned(customer - 1, sizes["customer"] - 1, sizes["campaign_id"] - 1, rng)


def item_buckets(items: int) -> dict[str, int]:
    """num_buckets of the item columns: one more than the largest id, in Taobao's proportions."""
    real = {"cate_id": 12960, "campaign_id": 423437, "customer": 255876, "brand": 461497}
    scaled = {name: max(10, round(items * size / 846811)) + 1 for name, size in real.items()}
    return {"adgroup_id": items + 1, **scaled}


def _users(count: int, tastes: np.ndarray, rng: np.random.Generator) -> Users:
    edges = np.cumsum(tastes)[:-1]
    main = np.searchsorted(edges, rng.random(count))
    second = np.searchsorted(edges, rng.random(count))
    tier = rng.integers(0, TIERS, count)

    def mostly(right: np.ndarray, chance: float, low: int, high: int) -> np.ndarray:
        """`right` with this chance, else anything in [low, high)."""
        return np.where(rng.random(count) < chance, right, rng.integers(low, high, count))

    def sometimes_missing(values: np.ndarray, chance: float) -> np.ndarray:
        return np.where(rng.random(count) < chance, MISSING, values)

    own_segments = max(1, 97 // len(tastes))
    segment = main * own_segments + rng.integers(0, own_segments, count)
    gender = mostly(main % 2 + 1, 0.8, 1, 3)
    age = mostly(1 + main % 6, 0.5, 0, 7)
    # Taobao's groups are gender and age taken together: 1 to 6 and 7 to 12, 0 for neither.
    group = np.where(age == 0, 0, (gender == 1) * 6 + age)
    columns = {
        "user_id": np.arange(count, dtype=np.int64) + 1,
        "cms_segid": mostly(segment, 0.75, 0, 97),
        "cms_group_id": group,
        "final_gender_code": gender,
        "age_level": age,
        "pvalue_level": sometimes_missing(mostly(tier + 1, 0.9, 1, 4), 0.5),
        "shopping_level": mostly(tier + 1, 0.6, 1, 4),
        "occupation": mostly(np.zeros(count, np.int64), 0.9, 0, 2),
        "new_user_class_level": sometimes_missing(mostly(1 + second % 4, 0.7, 1, 5), 0.3),
    }
    return Users(columns, main, second, tier, np.exp(rng.normal(0.0, 0.8, count)))
