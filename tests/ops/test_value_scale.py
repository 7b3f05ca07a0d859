"""h and its inverse, arXiv:1805.11593, proposition A.2."""

from __future__ import annotations

import numpy as np

from sac.backend import tf
from sac.ops.value_scale import LINEAR_TERM, Plain, Rescaled


def test_the_inverse_undoes_h_over_eight_magnitudes():
    x = np.concatenate([-np.logspace(-3, 5, 50), [0], np.logspace(-3, 5, 50)]).astype(np.float32)
    np.testing.assert_allclose(Rescaled.unsquash(Rescaled.squash(x)), x, rtol=2e-4, atol=1e-5)


def test_h_is_the_papers_formula_and_rises():
    x = np.linspace(-500, 500, 1001)
    np.testing.assert_allclose(
        Rescaled.squash(tf.constant(x)), np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + LINEAR_TERM * x, rtol=1e-9
    )
    assert (np.diff(Rescaled.unsquash(tf.constant(x, tf.float32))) > 0).all()


def test_plain_changes_nothing():
    assert Plain.squash(3.0) == Plain.unsquash(3.0) == 3.0
