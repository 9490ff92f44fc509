"""Mistakes of a user that a type checker must find: each line with a comment that says so.

`test_typing.py` runs the type checker on it, and nothing runs the lines themselves.
"""

import jax.numpy as jnp

import jaxspin as js

model = js.models.Rashba(kinetic=3.8, velocity=0.5)
mesh = js.Plane(0.1, 24, 12)
levels = js.Levels([0.1, 0.2])

js.spin_hall(model, mesh, levels, definition="kuboo")  # wrong: definition
js.spin_berry_curvature(model, [0.1, 0.0], definition="proper")  # wrong: definition
response = js.spin_hall(model, mesh, levels, definition="kubo")
response.component(flow="w")  # wrong: component
response.component(flows="x")  # wrong: axis
response.component(spin=0)  # wrong: component
response.to("hbar/e S/mm")  # wrong: unit
response.to("e^2/hh")  # wrong: unit
response.values  # wrong: attribute  # noqa: B018
js.spinhall(model, mesh, levels)  # wrong: name
js.anomalous_hall(model, levels, mesh)  # wrong: order
js.anomalous_hall(model, mesh, 0.1)  # wrong: levels
js.anomalous_hall(model, mesh)  # wrong: levels
js.anomalous_hall(model, mesh, levels, 1e-6)  # wrong: degeneracy
js.anomalous_hall(model, mesh, levels, degeneracy=1e-6)  # wrong: degeneracy
js.anomalous_hall(model, mesh, levels, tolerance=1e-6)  # wrong: argument
js.Levels("zero")  # wrong: energies
js.Levels(0.0, temperature="cold")  # wrong: temperature
js.Levels(mus=0.0)  # wrong: argument
js.Grid("12")  # wrong: shape
js.Disk(0.5, radial=8)  # wrong: number of angles
js.models.Rashba(kinetic=3.8, velocitys=0.5)  # wrong: parameter
js.downfold(model, "lowest")  # wrong: bands
js.bands(model, "Gamma").energies  # wrong: wave vector  # noqa: B018
js.disordered_response(model, mesh, levels, js.ScalarDisorder(0.1))  # wrong: surface
js.disordered_response(model, js.FermiContour(8), 1.0, js.ScalarDisorder(0.1))  # wrong: levels
js.density_matrix(model, jnp.zeros((1, 2)), levels, degeneracy=True)  # wrong: degeneracy
