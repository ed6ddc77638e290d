"""Which labelled images there are: a module for each way to say what an image shows."""
