"""Prefect flows: when to run, what to report, what to keep.  DVC alone knows what is stale."""
