"""Uses of a density: anomalies, classes, and missing values.

The estimators of this module take any density of the suite or of scikit-learn, an estimator with
``score_samples``, and do one task with it in scikit-learn's interface.
"""

from skvae.tasks.classifier import DensityClassifier
from skvae.tasks.imputer import DensityImputer
from skvae.tasks.outlier_detector import DensityOutlierDetector

__all__ = ["DensityClassifier", "DensityImputer", "DensityOutlierDetector"]
