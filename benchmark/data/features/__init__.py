"""From images on disk to RoI features: extractors, one file each."""
