"""Labels, or groups, that may be one, written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, takewhile

import pandas as pd

from pipeline.findings.finding import EXAMPLES, PICTURES, Example, Finding, listed, together

DIFFERENCES = "case, spaces, dashes, Unicode form or a number's spelling only"
NUMBER = re.compile(r"(-?\d+)\.0+")
SHORTEST_WORD = 4  # letters: among shorter words one letter makes another word too often
LONGEST = 100  # letters: what is longer is a sentence, of which typos are not looked for
ENUMERATED = 30  # labels that are each one letter from all the others count something
MOST_LABELS = 20_000  # as many are compared for typos; more are names rather than classes


def same_label(labelled: pd.DataFrame) -> Finding:
    """Labels that differ by case, spaces, dashes, Unicode form or a number's spelling only."""
    sentence = f"labels that differ by {DIFFERENCES}: make them one"
    return _spelt_otherwise("same_label", sentence, labelled, "label")


def same_group(grouped: pd.DataFrame) -> Finding:
    """Groups that differ by case, spaces, dashes, Unicode form or a number's spelling only."""
    sentence = f"groups that differ by {DIFFERENCES}: if they are one, splits may tear it"
    return _spelt_otherwise("same_group", sentence, grouped[grouped["group"] != ""], "group")


def _spelt_otherwise(code: str, sentence: str, rows: pd.DataFrame, column: str) -> Finding:
    groups = [sorted(group) for group in _by_spelling(list(rows[column].unique())).values()]
    found = sorted(group for group in groups if len(group) > 1)
    return _finding(code, sentence, rows, column, found)


def similar_labels(labelled: pd.DataFrame) -> Finding:
    """Labels one letter apart: left out, doubled, exchanged or swapped with the next."""
    counts = labelled["label"].value_counts()
    most = counts.sort_index().sort_values(ascending=False, kind="stable").index[:MOST_LABELS]
    spelt = {min(group): _words(min(group)) for group in _by_spelling(list(most)).values()}
    found = [
        [one, other] for one, other in one_edit_apart(spelt) if is_typo(spelt[one], spelt[other])
    ]
    sentence = "labels one letter apart, which look like typos"
    if len(counts) > MOST_LABELS:
        sentence += f" (only the {MOST_LABELS:,} commonest of {len(counts):,} were compared)"
    return _finding("similar_labels", sentence, labelled, "label", sorted(found))


def _finding(
    code: str,
    sentence: str,
    rows: pd.DataFrame,
    column: str,
    groups: list[list[str]],
) -> Finding:
    counts = rows[column].value_counts()
    shown = groups[:EXAMPLES]
    members = together(rows, column, {name for group in shown for name in group})
    examples = [
        Example(
            listed([f"{name!r} ({counts[name]})" for name in group[:PICTURES]], len(group)),
            [members[name][0] for name in group[:PICTURES]],
        )
        for group in shown
    ]
    return Finding(code, sentence, len(groups), examples)


def _by_spelling(labels: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        number = NUMBER.fullmatch(label.strip())  # 7.0 is 7; 007 may be another
        words = number[1] if number else _words(label)
        # a space between digits counts, for 1-2 is not 12
        groups[re.sub(r"(?<!\d) | (?!\d)", "", words)].append(label)
    return groups


def _words(label: str) -> str:
    """A label in small letters, its words apart by one space; a leading sign is kept."""
    text = unicodedata.normalize("NFKC", label)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = unicodedata.normalize("NFKC", text.casefold())
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])|\s+", " ", text).strip()


def one_edit_apart(spelt: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of names whose spellings have in common what one of their letters leaves.

    All within one edit are among them (as in SymSpell), in time that grows
    with the number of labels, not with its square: neither of very short or
    long ones, nor of many that differ in the same place, is any pair a typo.
    """
    without: dict[str, list[str]] = defaultdict(list)
    for name, text in spelt.items():
        if SHORTEST_WORD <= len(text) <= LONGEST:
            for left in {text, *(text[:at] + text[at + 1 :] for at in range(len(text)))}:
                without[left].append(name)
    alike = [sorted(names) for names in without.values() if len(names) <= ENUMERATED]
    return sorted({pair for names in alike for pair in combinations(names, 2)})


def is_typo(one: str, other: str) -> bool:
    """Whether one edit of a letter, in a word of some length, makes one the other.

    Numbers that differ do so on purpose.
    """
    start = _alike(one, other)
    end = _alike(one[start:][::-1], other[start:][::-1])
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    swapped = len(left) == 2 and left == right[::-1]
    if not swapped and max(len(left), len(right)) > 1:
        return False
    if not (left + right).isalpha():
        return False
    return min(_word_at(one, start), _word_at(other, start)) >= SHORTEST_WORD


def _alike(one: str, other: str) -> int:
    """How many letters two texts begin with in common."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in pairs)


def _word_at(text: str, place: int) -> int:
    """How many letters the word around a place has."""
    before = re.search(r"[^\W\d_]*$", text[:place])
    after = re.match(r"[^\W\d_]*", text[place:])
    return len(before.group() if before else "") + len(after.group() if after else "")
