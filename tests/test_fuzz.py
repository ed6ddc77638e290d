"""Mutated real files are read or rejected, and nothing else happens."""

from __future__ import annotations

from collections import Counter

from tests.fuzz import MEMORY, TIMEOUT_S, fuzz, mutant, sources

COUNT = 500


def test_mutants_are_read_or_rejected_and_nothing_else():
    tried = list(fuzz(range(COUNT), seed=0))

    faults = [
        (n, t.source, t.outcome) for n, t in enumerate(tried) if t.outcome.startswith("FAULT")
    ]
    assert faults == []
    outcomes = Counter(t.outcome for t in tried)
    assert outcomes["read"] > COUNT / 20
    assert outcomes["damaged"] > COUNT / 5
    assert max(t.seconds for t in tried) < TIMEOUT_S
    assert max(t.peak_bytes for t in tried) < MEMORY


def test_a_mutant_follows_from_seed_and_number():
    assert mutant(3, 7) == mutant(3, 7)
    assert mutant(3, 7) != mutant(4, 7)
    assert mutant(3, 7)[0] == sources()[7].name


def test_every_format_is_mutated():
    names = " ".join(kind.name for kind in sources())

    for form in ("PNG", "JPEG", "GIF", "TIFF", "WebP", "JPEG 2000", "BMP", "PPM", "MPO"):
        assert form in names
