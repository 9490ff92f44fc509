"""Spin-transfer torque: the response of the spin to a field and a gradient of the magnetisation.

Take an exchange-split band (`ConductionBand` of a topological insulator, `Ferromagnet`, or
`SplitBands` of any model), a Fermi-surface rule and a scattering time, and hand them to
`spin_transfer_torque`. Theory, units and limits: docs/spin-transfer-torque.md.
"""

from jaxspin.spin_transfer.exchange_models import (
    ConductionBand as ConductionBand,
    ExchangeModel as ExchangeModel,
    Ferromagnet as Ferromagnet,
    ParabolicBand as ParabolicBand,
    SplitBands as SplitBands,
)
from jaxspin.spin_transfer.micromagnetics import (
    Micromagnetics as Micromagnetics,
    micromagnetics as micromagnetics,
)
from jaxspin.spin_transfer.response import (
    SpinTransferTorque as SpinTransferTorque,
    spin_transfer_torque as spin_transfer_torque,
)
from jaxspin.spin_transfer.slow_modes import (
    DropSlowModes as DropSlowModes,
    KeepSlowModes as KeepSlowModes,
    SlowModes as SlowModes,
)
from jaxspin.spin_transfer.texture import (
    TextureTorque as TextureTorque,
    domain_wall as domain_wall,
    skyrmion as skyrmion,
    texture_torque as texture_torque,
)
from jaxspin.spin_transfer.transfer import Projection as Projection, Transfer as Transfer
