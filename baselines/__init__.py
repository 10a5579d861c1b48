"""The published methods that MM-SS is compared with: one file each."""
