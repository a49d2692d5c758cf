"""Tasks: what networks are for. Built-in ones by name, and the user's own.

>>> from hwopt import tasks
>>> tasks.find("regression{by=r2}").metric.name
'R²'
"""

from hwopt.tasks.classification import IGNORED, Classification, MultiLabel
from hwopt.tasks.embedding import Retrieval, Similarity
from hwopt.tasks.finding import find, names
from hwopt.tasks.imitation import Imitation
from hwopt.tasks.interval import interval, worse_by
from hwopt.tasks.loss_only import LossOnly
from hwopt.tasks.metric import Metric, share
from hwopt.tasks.reconstruction import Anomaly, Reconstruction
from hwopt.tasks.regression import Regression
from hwopt.tasks.segmentation import Segmentation
from hwopt.tasks.task import Task

__all__ = [
    "IGNORED",
    "Anomaly",
    "Classification",
    "Imitation",
    "LossOnly",
    "Metric",
    "MultiLabel",
    "Reconstruction",
    "Regression",
    "Retrieval",
    "Segmentation",
    "Similarity",
    "Task",
    "find",
    "interval",
    "names",
    "share",
    "worse_by",
]
