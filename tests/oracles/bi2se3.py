"""Bi2Se3: the model, the scale of its mesh, and independently computed conductivities."""

import numpy as np

import jaxspin as js

WIDTH = np.array([0.0793, 0.0793, 0.2020])  # sqrt(|M0|/M2), sqrt(|M0|/M2), sqrt(|M0|/M1) in 1/Å


X, Y, Z = range(3)


#: The five columns of the tables: (definition, flow, field, spin).
COLUMNS = (
    ("proper_published", Z, X, Y),
    ("proper_published", X, Y, Z),
    ("conventional", Z, X, Y),
    ("conventional", X, Z, Y),
    ("conventional", X, Y, Z),
)


def bi2se3(axis: str | None = None, exchange: float = 1e-3, **changes):
    field = [exchange * (axis == name) for name in "xyz"]
    return js.models.TopologicalInsulator.bi2se3(exchange=field, **changes)


ZERO_TEMPERATURE = {
    -0.40: ("-2154.429", "-3383.903", "-3423.877", "2981.120", "-4392.535"),
    -0.30: ("-2559.363", "-3742.604", "-4056.393", "3436.764", "-5063.904"),
    -0.20: ("-2100.3533", "-1214.3769", "-6075.5986", "4416.3852", "-6507.3286"),
    -0.10: ("-505.11458", "1242.0750", "-8131.2801", "7700.2240", "-11345.905"),
    0.30: ("650.8328", "1031.260", "-8241.186", "9292.252", "-13691.68"),
    0.35: ("1852.897", "3019.661", "-8123.434", "8954.871", "-13194.57"),
    0.40: ("2703.983", "4422.329", "-7939.453", "8528.634", "-12566.53"),
    0.60: ("3870.860", "6180.307", "-7070.019", "6987.654", "-10295.97"),
}
