"""Where the bytes of an image lie: in a file of its own, in an archive or in a table."""
