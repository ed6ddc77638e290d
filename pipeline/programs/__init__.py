"""Git and DVC by their command lines, which are their stable interfaces, and how to end them."""
