"""Planted faults, each with the test that must catch it."""
