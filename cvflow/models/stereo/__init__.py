"""Networks that give the disparity of a left and a right view."""
