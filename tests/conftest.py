"""What every test shares: figures are drawn without a screen and closed afterwards."""

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(autouse=True)
def _nothing_told():
    """Every test hears the warnings that a person hears once."""
    from helpers.embeddings import batching

    batching._TOLD.clear()
