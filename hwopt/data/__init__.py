"""Data sets: built-in ones by name, folders of images, and the user's own.

>>> from hwopt import data
>>> digits = data.load("digits")
>>> digits.input_shape, digits.num_classes
((1, 28, 28), 10)
"""

from hwopt.data.batches import batch, batches
from hwopt.data.dataset import DataSet, from_datasets
from hwopt.data.loading import image_size, load, names

__all__ = ["DataSet", "batch", "batches", "from_datasets", "image_size", "load", "names"]
