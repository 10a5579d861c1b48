"""Pre-trained text encoders, which MM-SS and the baselines may both read."""
