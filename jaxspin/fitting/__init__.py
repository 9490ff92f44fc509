"""Fits of model parameters to measured conductivities, with their uncertainties.

Choose numbers of a model, `Parameters(model, names)`; read measurements, `Data.read(path)`; write
`residuals(values)` from the two; hand it to `jaxspin.fit`. See docs/fitting.md.
"""

from jaxspin.fitting.conversion import Gate as Gate
from jaxspin.fitting.data import Data as Data
from jaxspin.fitting.least_squares import fit as fit
from jaxspin.fitting.minimise import (
    Gradient as Gradient,
    LevenbergMarquardt as LevenbergMarquardt,
    Method as Method,
    MultiStart as MultiStart,
    half_sum_of_squares as half_sum_of_squares,
)
from jaxspin.fitting.parameters import Parameters as Parameters
from jaxspin.fitting.problem import log_likelihood as log_likelihood
from jaxspin.fitting.result import Fit as Fit, History as History
from jaxspin.fitting.sensitivity import sensitivity as sensitivity
