"""A machine's own store of what networks said and ingest saw: bytes by key, in SQLite.

It holds only what can be computed again, so whatever is wrong with it costs time
and never a result: a damaged entry is dropped, a damaged database is set aside,
and where nothing can be written the run goes on without it.  Why SQLite:
docs/decisions/0011-sqlite-store.md.
"""
