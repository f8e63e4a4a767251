"""Networks that give the flow from a first image to a second."""
