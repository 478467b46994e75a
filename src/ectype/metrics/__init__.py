"""Quality, coverage and copying of generated rows, each figure beside its floor: arrays in, numbers out."""

from .association import ColumnDistance, worst_columns
from .catalogue import METRICS, PUBLISHED, Metric
from .dummies import DUMMIES, Dummy
from .evaluator import Evaluator
from .inception import InceptionFeatures
from .uncertainty import Estimate

__all__ = ["DUMMIES", "METRICS", "PUBLISHED", "ColumnDistance", "Dummy", "Estimate", "Evaluator", "InceptionFeatures", "Metric",
           "worst_columns"]
