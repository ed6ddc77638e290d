"""The leakage gate: what the written splits say, held against what must not be torn.

It reads the file that later stages read, and shares no code with the
strategies that filled it in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.near import Hashes, NearPairs, near_pairs
from pipeline.tables import FOLD, SPLITS, distinct, read_hashes, read_table

READ = ("path", "label", "digest", "group", "split")
NEAREST = 24  # pairs that are listed
REPORT_IT = "report it as a bug; data/splits.csv was not written"


class Nearest(NamedTuple):
    """Pairs of pictures in different splits, nearest first.

    A pair is its distance in bits and the places of two among the pictures;
    `counts` maps "test near train" and the like to pictures; of `crowded` ones
    not every pair was compared.
    """

    pairs: list[tuple[int, int, int]]
    counts: dict[str, int]
    crowded: int


def prove(written: Path, splits: Path, rows: int, *, folds: bool) -> pd.DataFrame:
    """Refuse written splits in which a picture or a group stands in two splits or folds.

    Args:
        written: The file to read.
        splits: What the file will be called, for the error.
        rows: How many there must be.
        folds: Whether they must have folds.

    Returns:
        The rows that were read: `READ`, and the fold where there is one.

    Raises:
        InputError: The gate fails.
    """
    table = read_table(written, (*READ, FOLD) if folds else READ, only=True)
    reason = ""
    if len(table) != rows:
        reason = f"{len(table)} rows were written of {rows}"
    elif not table["split"].isin(SPLITS).all():
        row = table[~table["split"].isin(SPLITS)].iloc[0]
        reason = f"{row['path']} stands in {row['split']!r}, which is no split"
    for place in ("split", FOLD):
        for what in ("digest", "group"):
            if not reason and place in table.columns:
                reason = torn(table, what, place)
    if reason:
        raise InputError(splits, f"the leakage gate of split failed: {reason}", REPORT_IT)
    return table


def torn(table: pd.DataFrame, what: str, place: str) -> str:
    """Say which value of the column `what` stands in two of `place`; empty if none does."""
    stands = table.loc[table[what] != "", [what, place]].drop_duplicates()
    twice = stands[stands[what].duplicated()]
    if twice.empty:
        return ""
    value = twice[what].iloc[0]
    rows = table[table[what] == value].drop_duplicates(place)
    one, other = rows.iloc[0], rows.iloc[1]
    return (
        f"{what} {value!r} stands in {place} {one[place]!r} ({one['path']}) "
        f"and in {place} {other[place]!r} ({other['path']})"
    )


def find_nearest(
    written: pd.DataFrame, measures: Path, splits: Path, distance: int, *, together: bool
) -> tuple[pd.DataFrame, Nearest]:
    """The gate's second half: near-duplicates across the splits that were written.

    Args:
        measures: Where the perceptual hashes are.
        splits: What the file will be called, for the error.
        distance: In bits, up to which pictures are near.
        together: Whether such were to share a split.

    Returns:
        The distinct pictures, and what was found among them.

    Raises:
        InputError: There are some, and they were to be kept together.
    """
    pictures = distinct(written)
    hashes = read_hashes(measures, pictures["digest"])
    found = nearest(pictures, hashes, distance)
    total = sum(found.counts.values())
    if together and total:
        pair = described(pictures, found)[0]
        one, other = pair["one"], pair["other"]
        reason = (
            f"the leakage gate of split failed: {one['path']} in {one['split']} and "
            f"{other['path']} in {other['split']} are near-duplicates"
        )
        raise InputError(splits, reason, "lower split.near_distance: too many pictures look alike")
    if total:
        words = ", ".join(f"{number} of {name}" for name, number in found.counts.items() if number)
        say(
            f"split: pictures within {distance} bits of another split's: {words}; "
            "`python -m pipeline inspect` shows them; "
            "split.near_duplicates together keeps them in one split"
        )
    return pictures, found


def nearest(pictures: pd.DataFrame, hashes: Hashes, distance: int) -> Nearest:
    """The nearest pairs of pictures in different splits, of at most `distance` bits.

    Args:
        pictures: One row a digest; column split.
        hashes: (picture,) uint64 perceptual hashes.
    """
    place = pd.Categorical(pictures["split"], categories=SPLITS).codes.astype(np.int64)
    # equal hashes of one split stand for each other, so a million of one hash are three items
    items = pd.DataFrame({"hash": hashes, "place": place}).groupby(["hash", "place"])
    sizes = items.size().reset_index(name="pictures")
    first = items.head(1).index.to_numpy()
    first = first[np.lexsort((place[first], hashes[first]))]
    places, count = sizes["place"].to_numpy(), len(sizes)
    near = np.zeros((len(SPLITS), count), dtype=bool)  # whether an item is near one of a split
    crowded = np.zeros(count, dtype=bool)
    best = np.empty(0, np.int64)
    for pairs in near_pairs(sizes["hash"].to_numpy(), distance):
        crowded[pairs.crowded] = True
        one, other, bits = _across(pairs, places)
        near[places[other], one] = near[places[one], other] = True
        # one number a pair, which orders by distance and then by the items
        codes = (bits * count + one) * count + other
        if len(best) == NEAREST:
            codes = codes[codes < best[-1]]
        best = np.unique(np.append(best, codes))[:NEAREST]
    one, other = first[best // count % count], first[best % count]
    listed = list(zip((best // count**2).tolist(), one.tolist(), other.tolist(), strict=True))
    of_items = sizes["pictures"].to_numpy()
    counts = {
        f"{SPLITS[held]} near {SPLITS[known]}": int(of_items[near[known] & (places == held)].sum())
        for held, known in ((1, 0), (2, 0), (2, 1))
    }
    return Nearest(listed, counts, int(of_items[crowded].sum()))


def _across(
    pairs: NearPairs, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Those pairs that stand in two splits, the later split first."""
    across = places[pairs.one] != places[pairs.other]
    one, other = pairs.one[across], pairs.other[across]
    later = places[one] > places[other]
    held, known = np.where(later, one, other), np.where(later, other, one)
    return held, known, pairs.distance[across].astype(np.int64)


def described(pictures: pd.DataFrame, found: Nearest) -> list[dict[str, Any]]:
    """The pairs as entries of a report."""
    return [
        {
            "distance": distance,
            **{
                name: {
                    column: str(pictures[column].iloc[at]) for column in ("path", "label", "split")
                }
                for name, at in zip(("one", "other"), pair, strict=True)
            },
        }
        for distance, *pair in found.pairs
    ]


def gate_report(pictures: pd.DataFrame, found: Nearest, distance: int) -> dict[str, Any]:
    """What the gate proved and found."""
    return {
        "proved": {
            "pictures_in_one_split": len(pictures),
            "groups_in_one_split": int(pictures.loc[pictures["group"] != "", "group"].nunique()),
        },
        "near_distance": distance,
        "pictures": found.counts,
        "pictures_in_crowds": found.crowded,
        "nearest": described(pictures, found),
    }
