"""From the image addresses of a data set to images on disk."""
