"""The packages under examples/."""
