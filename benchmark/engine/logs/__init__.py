"""Callbacks that write to libraries, one file each; every library is an extra, imported when a run starts."""
