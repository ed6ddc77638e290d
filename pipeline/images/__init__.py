"""From a file to the pixels a network sees."""
