"""What machines that read our output may rely on."""

SCHEMA_VERSION = 1
"""Of every JSON document that a command prints: raised when a field goes or changes its meaning."""
