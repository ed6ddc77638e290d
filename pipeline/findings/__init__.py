"""What a data set's tables say is odd about it: one kind of finding, or two, a module."""
