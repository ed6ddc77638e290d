"""What the frozen part of a backbone says of each view, computed once and kept."""
