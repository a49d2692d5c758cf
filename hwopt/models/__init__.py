"""The model zoo: plain PyTorch modules, created by name.

Listing and describing models does not import torch; creating one does.

>>> from hwopt import models
>>> models.names()[:4]
['autoencoder', 'ds_cnn', 'mobilenet_v1', 'mobilenet_v1_025']
>>> models.info("resnet8").input_shape
(3, 32, 32)
"""

from hwopt.models.entries import ModelInfo
from hwopt.models.registry import create, info, names

__all__ = ["ModelInfo", "create", "info", "names"]
