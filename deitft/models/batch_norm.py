"""BatchNorm where several processes train: its statistics must be those of the whole batch, or it is refused.

Each process sees its share of a batch only. Left alone, BatchNorm would normalise by the share, and every process
would keep running statistics of its own.
"""

from __future__ import annotations

from timm.layers import convert_sync_batchnorm
from torch import nn

from deitft.models.build import Classifier

_BatchNorm = nn.modules.batchnorm._BatchNorm


def learns_statistics(classifier: Classifier) -> bool:
    """Whether any BatchNorm takes statistics of the batch in training; a frozen one does not."""
    training = classifier.training
    classifier.train()
    found = any(isinstance(module, _BatchNorm) and module.training for module in classifier.modules())
    classifier.train(training)
    return found


def synchronise(classifier: Classifier) -> None:
    """Have every BatchNorm take the statistics of all processes (torch's SyncBatchNorm, which needs GPUs).

    Parameters, buffers and their names stay the same tensors: an optimizer that knows them goes on.
    """
    classifier.net = convert_sync_batchnorm(classifier.net)
