"""Networks that give a class for each pixel, one file a paper."""
