"""Which rows belong together, where each such unit goes, and the proof that none is torn."""
