"""Quality, coverage and copying of generated rows, each figure beside its floor: arrays in, numbers out."""

from .association import ColumnDistance, worst_columns
from .catalogue import METRICS, Metric
from .dummies import DUMMIES, Dummy
from .evaluator import Evaluator
from .uncertainty import Estimate

__all__ = ["DUMMIES", "METRICS", "ColumnDistance", "Dummy", "Estimate", "Evaluator", "Metric", "worst_columns"]
