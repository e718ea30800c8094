"""What every figure has."""

from matplotlib.figure import Figure


def labelled(figure):
    """Whether each of its axes says what it shows."""
    assert isinstance(figure, Figure)
    return all(a.get_xlabel() and a.get_ylabel() for a in figure.axes if a.axison)
