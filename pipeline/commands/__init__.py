"""What users type besides the stages: each a thin shell around them."""
