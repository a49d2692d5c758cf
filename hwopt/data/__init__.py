"""Data sets: built-in ones by name, folders of images, and the user's own.

>>> from hwopt import data
>>> digits = data.load("digits")
>>> digits.input_shape, digits.num_classes
((1, 28, 28), 10)
"""

from hwopt.data.batches import Batch, as_batch, batch, batches, leaves, run_model, samples_in
from hwopt.data.dataset import DataSet, from_datasets
from hwopt.data.loading import image_size, load, names

__all__ = [
    "Batch",
    "DataSet",
    "as_batch",
    "batch",
    "batches",
    "from_datasets",
    "image_size",
    "leaves",
    "load",
    "names",
    "run_model",
    "samples_in",
]
