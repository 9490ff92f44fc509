"""Transport in the presence of disorder: contributions by mechanism, spin-orbit torques.

Semiclassical theory of Burgos Atencia, Niu and Culcer (2022), for any number of bands and without
reference to a gauge (docs/disorder.md).
"""

from jaxspin.disorder.inverse import inverse_response as inverse_response
from jaxspin.disorder.on_surface import (
    SurfaceDistributions as SurfaceDistributions,
    on_surface as on_surface,
)
from jaxspin.disorder.operators import (
    Current as Current,
    CurrentOf as CurrentOf,
    Density as Density,
    MeasuredOperator as MeasuredOperator,
    OperatorOfK as OperatorOfK,
    TorqueOn as TorqueOn,
)
from jaxspin.disorder.quasi_degenerate import (
    QuasiDegenerateResponse as QuasiDegenerateResponse,
    TwoOrders as TwoOrders,
    quasi_degenerate_response as quasi_degenerate_response,
)
from jaxspin.disorder.relaxation import Relaxation as Relaxation, relaxation as relaxation
from jaxspin.disorder.response import disordered_response as disordered_response
from jaxspin.disorder.results import (
    Contribution as Contribution,
    DisorderedResponse as DisorderedResponse,
    OperatorResponse as OperatorResponse,
)
from jaxspin.disorder.scatterers import (
    Disorder as Disorder,
    FiniteRangeDisorder as FiniteRangeDisorder,
    GaussianCorrelator as GaussianCorrelator,
    MatrixDisorder as MatrixDisorder,
    ScalarDisorder as ScalarDisorder,
)
from jaxspin.disorder.spin_hall_angle import spin_hall_angle as spin_hall_angle
from jaxspin.disorder.torque import SpinOrbitTorque as SpinOrbitTorque
