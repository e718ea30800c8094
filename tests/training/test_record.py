"""The record of an epoch."""

import pyro_vae as pv

FIGURES = {"loss": 41.234, "train_elbo": -40.5, "train_rate": 9.0, "train_distortion": 31.5}


def test_a_record_is_shown_in_a_line():
    record = pv.Record(3, 33, 1.25, 1.0, **FIGURES)
    assert repr(record) == "Record(epoch 3, step 33, loss 41.23, train_elbo -40.50)"
    tested = pv.Record(3, 33, 1.25, 1.0, **FIGURES, test_elbo=-41.0, validation_loss=42.0)
    assert repr(tested) == (
        "Record(epoch 3, step 33, loss 41.23, train_elbo -40.50, test_elbo -41.00,"
        " validation_loss 42.00)"
    )
