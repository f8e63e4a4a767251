"""What ``cvflow new`` begins a recipe with, a file each task: sizes by the images, networks that
train from nothing.

A starter is registered under the name of its task: ``(Seen) -> sections of a recipe``, laid over
those of every task.
"""
