"""From the released files to packed, memory-mapped arrays."""
