"""Building blocks that only the baselines use."""
