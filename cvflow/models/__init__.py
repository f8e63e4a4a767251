"""Layers, backbones, and the models made of them."""
