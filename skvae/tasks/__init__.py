"""Uses of a density: anomalies, classes, and missing values.

The estimators of this module do one task with a density, in scikit-learn's interface. Anomalies and
classes take any density of the suite or of scikit-learn, an estimator with ``score_samples``;
missing values take one of the suite with ``impute``.
"""

from skvae.tasks.classifier import DensityClassifier
from skvae.tasks.imputer import DensityImputer
from skvae.tasks.outlier_detector import DensityOutlierDetector

__all__ = ["DensityClassifier", "DensityImputer", "DensityOutlierDetector"]
