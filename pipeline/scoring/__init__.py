"""What a classifier's probabilities are worth."""
