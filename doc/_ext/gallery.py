"""The order of the examples, and the reset of the warning filters between them."""

import warnings

# From the topics of a new user to special ones; other examples follow, sorted by name.
ORDER = (
    "plot_compare_models.py",
    "plot_same_hill.py",
    "plot_geyser_order.py",
    "plot_segmentation.py",
    "plot_earthquakes.py",
    "plot_few_labels.py",
    "plot_speakers.py",
    "plot_online_filter.py",
    "plot_grammar.py",
    "plot_arithmetic.py",
    "plot_how_many_clusters.py",
    "plot_stream.py",
    "plot_digits_autoencoder.py",
    "plot_latent_dimension.py",
    "plot_curved_manifold.py",
    "plot_kl_weight.py",
    "plot_missing_values_autoencoder.py",
    "plot_convolutional_encoder.py",
)
_FILTERS = list(warnings.filters)


class QuestionOrder:
    """The sort key of an example, by its file name."""

    def __init__(self, _folder):
        pass

    def __call__(self, filename):
        return ORDER.index(filename) if filename in ORDER else len(ORDER), filename


def reset_warnings(_settings, _filename):
    """Restore the warning filters, which an example may have changed."""
    warnings.resetwarnings()
    warnings.filters[:] = _FILTERS
