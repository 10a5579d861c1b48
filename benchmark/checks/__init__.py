"""Can the numbers be trusted: recorded outputs, determinism, controls."""
