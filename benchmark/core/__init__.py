"""Building blocks that every model shares. Imports nothing else of this project."""
