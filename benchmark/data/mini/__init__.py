"""The embedded corpus: synthetic reviews with a known, planted signal."""
