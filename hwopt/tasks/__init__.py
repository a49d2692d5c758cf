"""Tasks: what networks are for. Built-in ones by name, and the user's own.

The names are imported when they are first used.

>>> from hwopt import tasks
>>> tasks.find("regression{by=r2}").metric.name
'R²'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy

if TYPE_CHECKING:
    from hwopt.tasks.classification import IGNORED as IGNORED
    from hwopt.tasks.classification import Classification as Classification
    from hwopt.tasks.classification import MultiLabel as MultiLabel
    from hwopt.tasks.embedding import Retrieval as Retrieval
    from hwopt.tasks.embedding import Similarity as Similarity
    from hwopt.tasks.finding import find as find
    from hwopt.tasks.finding import names as names
    from hwopt.tasks.imitation import Imitation as Imitation
    from hwopt.tasks.intervals import interval as interval
    from hwopt.tasks.intervals import worse_by as worse_by
    from hwopt.tasks.loss_only import LossOnly as LossOnly
    from hwopt.tasks.metric import Metric as Metric
    from hwopt.tasks.metric import share as share
    from hwopt.tasks.reconstruction import Anomaly as Anomaly
    from hwopt.tasks.reconstruction import Reconstruction as Reconstruction
    from hwopt.tasks.regression import Regression as Regression
    from hwopt.tasks.segmentation import Segmentation as Segmentation
    from hwopt.tasks.task import Task as Task
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            "Anomaly": "hwopt.tasks.reconstruction",
            "Classification": "hwopt.tasks.classification",
            "IGNORED": "hwopt.tasks.classification",
            "Imitation": "hwopt.tasks.imitation",
            "LossOnly": "hwopt.tasks.loss_only",
            "Metric": "hwopt.tasks.metric",
            "MultiLabel": "hwopt.tasks.classification",
            "Reconstruction": "hwopt.tasks.reconstruction",
            "Regression": "hwopt.tasks.regression",
            "Retrieval": "hwopt.tasks.embedding",
            "Segmentation": "hwopt.tasks.segmentation",
            "Similarity": "hwopt.tasks.embedding",
            "Task": "hwopt.tasks.task",
            "find": "hwopt.tasks.finding",
            "interval": "hwopt.tasks.intervals",
            "names": "hwopt.tasks.finding",
            "share": "hwopt.tasks.metric",
            "worse_by": "hwopt.tasks.intervals",
        },
    )
