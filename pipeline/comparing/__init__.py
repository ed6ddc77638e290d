"""What differs between two revisions, image by image, and how sure that is."""
