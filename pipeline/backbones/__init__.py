"""Pre-trained image networks without their classifier, and where to cut them."""
