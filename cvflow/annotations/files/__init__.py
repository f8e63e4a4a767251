"""Files that hold a map of numbers per pixel: bytes to arrays and back, exactly.

A fault is an ImageFault in plain words. Worker processes import these files: none may bring in torch.
"""
