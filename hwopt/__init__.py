"""hwopt: hardware-aware compression and compilation of PyTorch models.

The names are imported when they are first used: importing torch and TVM takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy
from hwopt.version import __version__ as __version__

if TYPE_CHECKING:
    from hwopt import data as data
    from hwopt import models as models
    from hwopt import optim as optim
    from hwopt import passes as passes
    from hwopt import search as search
    from hwopt import targets as targets
    from hwopt import train as train
    from hwopt.compiler import Artifact as Artifact
    from hwopt.compiler import Latency as Latency
    from hwopt.compiler import compile as compile
    from hwopt.compiler import load as load
    from hwopt.compiler.export_c import export_c as export_c
    from hwopt.errors import HwoptError as HwoptError
    from hwopt.graph import Graph as Graph
    from hwopt.graph import import_model as import_model
    from hwopt.job import optimize as optimize
    from hwopt.passes import Context as Context
    from hwopt.passes import apply as apply
    from hwopt.prediction.predictor import predict as predict
    from hwopt.targets import Target as Target
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            "Artifact": "hwopt.compiler",
            "Context": "hwopt.passes",
            "Graph": "hwopt.graph",
            "HwoptError": "hwopt.errors",
            "Latency": "hwopt.compiler",
            "Target": "hwopt.targets",
            "apply": "hwopt.passes",
            "compile": "hwopt.compiler",
            "data": "hwopt.data",
            "export_c": "hwopt.compiler.export_c",
            "import_model": "hwopt.graph",
            "load": "hwopt.compiler",
            "models": "hwopt.models",
            "optim": "hwopt.optim",
            "optimize": "hwopt.job",
            "passes": "hwopt.passes",
            "predict": "hwopt.prediction.predictor",
            "search": "hwopt.search",
            "targets": "hwopt.targets",
            "train": "hwopt.train",
        },
    )
