"""Files that hold a map of numbers a pixel: bytes to arrays and back, exactly; a fault is an ImageFault in plain words.

Worker processes import these: none may bring in torch at import.
"""
