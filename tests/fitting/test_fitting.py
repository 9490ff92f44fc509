"""Fits: linear problems have closed forms, and a model on a small mesh is recovered."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxspin as js
from jaxspin.engine.checkpoint import Checkpoint
from jaxspin.fitting import Gradient, LevenbergMarquardt, MultiStart, Parameters, minimise

X = np.linspace(0.0, 2.0, 12)
DESIGN = np.stack([np.ones_like(X), X], axis=1)
SIGMA = 0.1 + 0.05 * X
MEASURED = DESIGN @ [1.0, 2.0] + SIGMA * np.random.default_rng(7).normal(size=X.size)
WEIGHTED = DESIGN / SIGMA[:, None]
COVARIANCE = np.linalg.inv(WEIGHTED.T @ WEIGHTED)
OPTIMUM = COVARIANCE @ WEIGHTED.T @ (MEASURED / SIGMA)
START = {"offset": 0.3, "slope": 1.0}
TRACES = []


class Line(eqx.Module):
    """A straight line through data: everything is known in closed form."""

    measured: jax.Array = eqx.field(converter=jnp.asarray, default_factory=lambda: MEASURED)

    def __call__(self, p):
        TRACES.append(None)
        return (p["offset"] + p["slope"] * X - self.measured) / SIGMA


@pytest.fixture(scope="module")
def line():
    return js.fit(Line(), START)


def is_optimum(fit: js.Fit, values) -> bool:
    """Whether it is there, to the 1e-4 standard errors that it promises."""
    return bool(np.all(np.abs(fit.values - values) < 1e-4 * fit.standard_errors))


# --- linear least squares in closed form ----------------------------------------------------------


def test_line(line):
    assert line.names == ("offset", "slope")
    assert line.converged
    assert is_optimum(line, OPTIMUM)
    np.testing.assert_allclose(line.covariance, COVARIANCE, rtol=1e-10)
    np.testing.assert_allclose(line.standard_errors, np.sqrt(np.diag(COVARIANCE)), rtol=1e-10)
    rho = COVARIANCE[0, 1] / np.sqrt(COVARIANCE[0, 0] * COVARIANCE[1, 1])
    np.testing.assert_allclose(line.correlation, [[1, rho], [rho, 1]], rtol=1e-10)
    chi2 = np.sum(((DESIGN @ OPTIMUM - MEASURED) / SIGMA) ** 2)
    np.testing.assert_allclose(line.chi2, chi2, rtol=1e-8)
    assert line.degrees_of_freedom == 10
    np.testing.assert_allclose(line.reduced_chi2, chi2 / 10, rtol=1e-8)
    assert line.gradient_norm < 1e-3
    assert float(line.parameters["slope"]) == line.values[1]
    assert line.minima == (pytest.approx(line.chi2),)
    assert len(line.history.parameters) == len(line.history.misfit) > 1
    assert np.all(np.diff(line.history.misfit) <= 0)


def test_it_prints_as_a_table(line):
    text = str(line)
    error = np.sqrt(COVARIANCE[1, 1])
    assert text.startswith("fit of 2 parameters to 12 data\n  converged: within")
    assert re.search(rf"slope   {OPTIMUM[1]:.3f} ± {error:.3f}", text)
    assert "10 degrees of freedom" in text
    assert "strongest correlation: offset and slope, -0." in text


def test_other_data_compile_nothing(line):
    """And the number of traces does not depend on the number of steps."""
    TRACES.clear()
    other = js.fit(Line(MEASURED + 1.0), {"offset": 40.0, "slope": -30.0})
    assert is_optimum(other, OPTIMUM + np.array([1.0, 0.0]))
    assert len(other.history.misfit) != len(line.history.misfit)
    assert len(TRACES) == 1  # the shapes of what it returns


def test_units_of_a_parameter_do_not_matter(line):
    scaled = js.fit(
        lambda p: Line()({"offset": p["offset"], "slope": 1e6 * p["slope"]}),
        {"offset": 0.3, "slope": 1e-6},
    )
    assert is_optimum(scaled, OPTIMUM * np.array([1, 1e-6]))
    np.testing.assert_allclose(scaled.standard_errors, line.standard_errors * [1, 1e-6], rtol=1e-8)


def test_prior_is_a_datum():
    prior = js.fit(Line(), START, priors={"slope": (1.5, 0.02)})
    precision = np.linalg.inv(COVARIANCE) + np.diag([0, 0.02**-2])
    optimum = np.linalg.solve(precision, WEIGHTED.T @ (MEASURED / SIGMA) + [0, 1.5 / 0.02**2])
    assert is_optimum(prior, optimum)
    np.testing.assert_allclose(prior.covariance, np.linalg.inv(precision), rtol=1e-8)
    assert prior.degrees_of_freedom == 11
    assert len(prior.residuals) == 12


@pytest.mark.parametrize(
    "bounds",
    [{"slope": (0.0, 5.0)}, {"slope": (0.0, None), "offset": (None, 3.0)}],
)
def test_bounds_around_the_optimum_change_nothing(line, bounds):
    inside = js.fit(Line(), START, bounds=bounds)
    assert is_optimum(inside, OPTIMUM)
    np.testing.assert_allclose(inside.covariance, line.covariance, rtol=1e-8)
    assert inside.at_bound == ()


@pytest.mark.parametrize(
    ("bounds", "bound"), [((0.0, 1.8), 1.8), ((None, 1.8), 1.8), ((2.3, None), 2.3)]
)
def test_optimum_beyond_a_bound(bounds, bound):
    """It ends there, and the errors are those of the other parameter alone."""
    start = {"offset": 0.3, "slope": 1.0 if bound < 2 else 4.0}
    fit = js.fit(Line(), start, bounds={"slope": bounds})
    variance = 1 / np.sum(SIGMA**-2.0)
    offset = variance * np.sum((MEASURED - bound * X) / SIGMA**2)
    assert fit.converged
    assert fit.at_bound == ("slope",)
    np.testing.assert_allclose(fit.values, [offset, bound], rtol=1e-4)
    np.testing.assert_allclose(fit.standard_errors, [np.sqrt(variance), np.nan], rtol=1e-8)
    assert fit.degrees_of_freedom == 11
    assert "at a bound" in str(fit)


def test_bounds_far_wider_than_the_errors():
    """10⁻⁵ of the interval is a hundred thousand standard errors here."""
    start, bounds = {"offset": 0.3, "slope": 100.0}, {"slope": (0.0, 1e6)}
    fit = js.fit(lambda p: Line()(p) / 1e-3, start, bounds=bounds)
    assert fit.at_bound == ()
    np.testing.assert_allclose(fit.values, OPTIMUM, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, 1e-6 * COVARIANCE, rtol=1e-8)


def test_optimum_of_zero_has_an_error():
    """And no warning that the data do not determine it (warnings are errors here)."""
    fit = js.fit(Line(X * 2.0), {"offset": 1e-6, "slope": 1.9})
    assert abs(fit.values[0]) < 1e-9  # of no size, compared with its error
    np.testing.assert_allclose(fit.covariance, COVARIANCE, rtol=1e-8)
    assert re.search(r"offset  -?0\.0 ± 0\.0\d\d", str(fit))


def test_undetermined_direction_is_named(line):
    residuals = lambda p: (p["a"] + p["b"] + p["c"] * X - MEASURED) / SIGMA  # noqa: E731
    with pytest.warns(UserWarning, match=r"do not change along .*0\.71 a .*0\.71 b \(relative"):
        fit = js.fit(residuals, {"a": 0.5, "b": 0.5, "c": 1.0})
    (direction,) = fit.undetermined
    sign = np.sign(direction["a"])
    size = np.array([fit.values[1], -fit.values[0], 0.0]) / np.hypot(*fit.values[:2])
    np.testing.assert_allclose(sign * np.array(list(direction.values())), size, atol=1e-9)
    np.testing.assert_allclose(
        fit.standard_errors, [np.inf, np.inf, np.sqrt(COVARIANCE[1, 1])], rtol=1e-8
    )
    # Two numbers are known, and the two that make one of them take one degree of freedom.
    assert fit.degrees_of_freedom == 10
    np.testing.assert_allclose(fit.reduced_chi2, line.reduced_chi2, rtol=1e-6)
    # A little of b elsewhere, and there is no warning (warnings are errors here).
    known = js.fit(lambda p: residuals(p) + 1e-3 * p["b"] * X**2, {"a": 0.5, "b": 0.5, "c": 1.0})
    assert np.all(np.isfinite(known.standard_errors))


# --- other methods --------------------------------------------------------------------------------


def test_an_optimiser_of_optax_agrees(line):
    fit = js.fit(Line(), START, method=Gradient(optax.lbfgs(), 200, tolerance=1e-6))
    assert fit.converged
    np.testing.assert_allclose(fit.values, line.values, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, line.covariance, rtol=1e-8)


def test_another_loss_is_not_moved_by_an_outlier(line):
    wrong = Line(jnp.asarray(MEASURED).at[3].add(5.0))
    absolute = lambda r: jnp.sum(jnp.sqrt(1 + r**2))  # noqa: E731
    robust = js.fit(wrong, START, method=Gradient(optax.lbfgs(), 200, loss=absolute))
    least_squares = js.fit(wrong, START)
    away = [abs(fit.values - line.values).max() for fit in (robust, least_squares)]
    assert away[0] < 0.1 < 0.5 < away[1]


def test_many_starts_find_the_lowest_minimum():
    wave = lambda p: (jnp.sin(p["k"] * X * 5) - np.sin(1.3 * X * 5)) / 0.1  # noqa: E731
    one = js.fit(wave, {"k": 3.0}, bounds={"k": (0.1, 4.0)})
    assert one.chi2 > 100  # a local minimum
    many = js.fit(
        wave, {"k": 3.0}, bounds={"k": (0.1, 4.0)}, method=MultiStart(LevenbergMarquardt(), 12)
    )
    np.testing.assert_allclose(many.values, 1.3, rtol=1e-6)
    assert len(many.minima) == 12
    assert min(many.minima) == many.chi2
    assert many.minima[0] == pytest.approx(one.chi2)
    with pytest.raises(ValueError, match=r"`bounds` must have both ends .* does not for k"):
        js.fit(wave, {"k": 3.0}, method=MultiStart(LevenbergMarquardt()))


def test_many_starts_go_by_the_loss_of_the_method():
    """And not by χ², which outliers decide."""
    outliers = np.where(X < 0.8, 30.0, 0.0)
    wave = lambda p: (jnp.sin(p["k"] * X * 5) - np.sin(1.3 * X * 5) - outliers) / 0.1  # noqa: E731
    loss = lambda r: jnp.sum(jnp.log(1 + r**2))  # noqa: E731
    method = MultiStart(Gradient(optax.lbfgs(), 100, loss), 15)
    fit = js.fit(wave, {"k": 3.0}, bounds={"k": (0.1, 4.0)}, method=method)
    np.testing.assert_allclose(fit.values, 1.3, rtol=1e-4)
    assert fit.chi2 > min(fit.minima)


def test_starts_that_are_no_numbers_are_passed_over():
    root = lambda p: (jnp.sqrt(p["a"]) - 1.0 + 0.0 * X) / 0.1  # noqa: E731
    method = MultiStart(LevenbergMarquardt(), 5)
    fit = js.fit(root, {"a": 0.5}, bounds={"a": (-2.0, 2.0)}, method=method)
    np.testing.assert_allclose(fit.values, 1.0, rtol=1e-5)
    assert 1 <= np.sum(np.isinf(fit.minima)) < 5
    with pytest.raises(ValueError, match="`start` must give finite residuals"):
        js.fit(root, {"a": -0.5}, bounds={"a": (-2.0, 2.0)}, method=method)


# --- interruptions --------------------------------------------------------------------------------


def interrupt(monkeypatch, after: int):
    """Ctrl-C in the middle of a step."""
    count = iter(range(1000))

    def interrupted(step):
        def call(*arguments, **code):
            if next(count) == after:
                raise KeyboardInterrupt
            return step(*arguments, **code)

        return call

    for name in ("_damped_step", "_optax_step"):
        monkeypatch.setattr(minimise, name, interrupted(getattr(minimise, name)))


@pytest.mark.parametrize("method", [LevenbergMarquardt(), Gradient(optax.lbfgs(), 100)])
def test_ctrl_c_loses_nothing(tmp_path, monkeypatch, method):
    path, far = tmp_path / "fit.npz", {"offset": 40.0, "slope": -30.0}
    whole = js.fit(Line(), far, method=method)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        fit = js.fit(Line(), far, method=method, checkpoint=Checkpoint(path, seconds=1000))
    assert not fit.converged
    assert fit.reason == "interrupted after 2 steps"
    np.testing.assert_array_equal(fit.history.misfit, whole.history.misfit[:2])
    resumed = js.fit(Line(), far, method=method, checkpoint=path)
    np.testing.assert_array_equal(resumed.values, whole.values)
    np.testing.assert_array_equal(resumed.history.misfit, whole.history.misfit)
    assert not path.exists()


def test_converged_to_within_the_rounding_of_the_misfit():
    """Of data 10¹¹ errors away from every curve χ² is 10²², known to 10⁶."""
    x = np.linspace(0.1, 1.0, 9)
    data = np.cos(5 * x)

    def curve(p):
        return jnp.sin(p["a"] * x) * x + p["c"]

    start = {"a": 0.3, "c": 0.4}
    fit = js.fit(lambda p: 1e11 * (curve(p) - data), start)
    assert fit.converged
    assert fit.reason.startswith("to within the rounding of the misfit")
    expected = js.fit(lambda p: curve(p) - data, start, method=LevenbergMarquardt(tolerance=1e-9))
    np.testing.assert_allclose(fit.values, expected.values, rtol=0, atol=1e-7)
    saddle = js.fit(lambda p: 1e11 * (curve({"a": p["a"], "c": p["c"] ** 3}) - data), start)
    assert not saddle.converged


def test_more_steps_go_on(tmp_path):
    path, far = tmp_path / "fit.npz", {"offset": 40.0, "slope": -30.0}
    short = js.fit(Line(), far, method=LevenbergMarquardt(steps=2), checkpoint=path)
    assert (short.converged, short.reason) == (False, "not converged after 2 steps")
    assert "NOT CONVERGED" in str(short)
    with pytest.raises(ValueError, match="`checkpoint` must be of this very run"):
        js.fit(Line(MEASURED + 1), far, checkpoint=path)
    fit = js.fit(Line(), far, checkpoint=path)
    np.testing.assert_array_equal(fit.history.misfit[:2], short.history.misfit)
    assert is_optimum(fit, OPTIMUM)


def absolute(r):
    return jnp.sum(jnp.abs(r))


FIRST_OF_SGD = {"method": Gradient(optax.sgd(1e-4), 2)}
FIRST_OF_TWO = {"bounds": {"offset": (-9, 9), "slope": (-9, 9)}}
OTHERS = {
    "prior": ({"priors": {"slope": (1.0, 0.1)}}, {"priors": {"offset": (1.0, 0.1)}}),
    "method": ({}, FIRST_OF_SGD),
    "method.optimizer": (FIRST_OF_SGD, {"method": Gradient(optax.adam(1e-4), 2)}),
    "method.loss": (FIRST_OF_SGD, {"method": Gradient(optax.sgd(1e-4), 2, absolute)}),
    "method.seed": tuple(
        {**FIRST_OF_TWO, "method": MultiStart(LevenbergMarquardt(1), 2, seed)} for seed in (0, 1)
    ),
}


@pytest.mark.parametrize("field", OTHERS)
def test_another_fit_does_not_go_on(tmp_path, field):
    first, second = ({"method": LevenbergMarquardt(1), **other} for other in OTHERS[field])
    js.fit(Line(), START, checkpoint=tmp_path / "fit.npz", **first)
    with pytest.raises(ValueError, match=f"of this very run, but in .* `{field}` is"):
        js.fit(Line(), START, checkpoint=tmp_path / "fit.npz", **second)


@pytest.mark.parametrize("hidden", [jax.jit, jax.checkpoint, lambda f: f])
def test_a_fit_of_other_data_does_not_go_on(tmp_path, hidden):
    """Data that no field holds, inside of an inner program."""

    def misfit(data):
        return hidden(lambda p: DESIGN @ jnp.stack([p["offset"], p["slope"]]) - data)

    few = LevenbergMarquardt(1)
    js.fit(misfit(MEASURED), START, method=few, checkpoint=tmp_path / "fit.npz")
    with pytest.raises(ValueError, match=r"of this very run, but in .* `residuals` is"):
        js.fit(misfit(MEASURED + 1), START, method=few, checkpoint=tmp_path / "fit.npz")
    js.fit(misfit(MEASURED), START, method=few, checkpoint=tmp_path / "fit.npz")


def test_many_starts_go_on(tmp_path, monkeypatch):
    path, bounds = tmp_path / "fit.npz", {"offset": (-50.0, 50.0), "slope": (-50.0, 50.0)}
    arguments = {"bounds": bounds, "method": MultiStart(LevenbergMarquardt(), 3)}
    whole = js.fit(Line(), START, **arguments)
    first = js.fit(Line(), START, bounds=bounds)  # rounding says which start is the best
    with monkeypatch.context() as patch:
        interrupt(patch, len(first.history.misfit) + 2)
        fit = js.fit(Line(), START, checkpoint=path, **arguments)
    assert len(fit.minima) < 3
    assert path.exists()
    resumed = js.fit(Line(), START, checkpoint=path, **arguments)
    assert resumed.minima == whole.minima
    assert not path.exists()


def test_ctrl_c_before_the_first_step(monkeypatch):
    interrupt(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        js.fit(Line(), START)


def test_progress_is_shown(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    js.fit(Line(), START, progress=True)
    assert "fitting 12 data: step" in capsys.readouterr().err
    js.fit(Line(), START)
    assert capsys.readouterr().err == ""


# --- bad input ------------------------------------------------------------------------------------

TWO = {"a": 1.0, "b": 2.0}
BAD = {
    "fewer data than parameters": (
        {"residuals": lambda p: jnp.stack([p["a"] + p["b"]])},
        r"at least as many as the 2 parameters, but there are 1 data and 0 priors",
    ),
    "complex residuals": (
        {"residuals": lambda p: jnp.ones(3) * (p["a"] + 1j)},
        "must return real numbers, but returns complex128",
    ),
    "a number": ({"residuals": lambda p: 1.0}, "must return an array or a pytree of arrays"),
    "no function": ({"residuals": np.ones(3)}, "`residuals` must be a function of the parameters"),
    "no residuals": ({"residuals": lambda p: ()}, "must return an array or a pytree of arrays"),
    "NaN in residuals": (
        {"residuals": lambda p: p["a"] * jnp.array([1.0, jnp.nan, 2.0])},
        "`start` must give finite residuals, but 1 of 3 are not",
    ),
    "infinite derivatives": (
        {"residuals": lambda p: jnp.sqrt(p["a"] - 1.0) * jnp.ones(3)},
        "`start` must give finite derivatives, but 6 of 6 are not",
    ),
    "start below": ({"bounds": {"a": (1.5, 3.0)}}, "between 1.5 and 3 for a, but is 1"),
    "start at a bound": ({"bounds": {"b": (None, 2.0)}}, "between -inf and 2 for b, but is 2"),
    "bounds in disorder": ({"bounds": {"a": (2.0, 0.0)}}, "low < high, but is"),
    "no bounds": ({"bounds": {"a": 1.0}}, r"`bounds` must be \(low, high\) of real numbers, one"),
    "three bounds": ({"bounds": {"a": (0, 1, 2)}}, r"must be \(low, high\) of .* but is \(0, 1, 2"),
    "bounds of text": ({"bounds": {"a": ("0", 2)}}, r"must be \(low, high\) of real numbers, one"),
    "bounds that are none": ({"bounds": {"a": (np.nan, 2)}}, "low < high, but is"),
    "bounds without names": ({"bounds": [(0, 1)]}, r"`bounds` must be \(low, high\) by name"),
    "no prior": ({"priors": {"a": 1.0}}, r"`priors` must be \(mean, sigma\) of real numbers, one"),
    "open prior": ({"priors": {"a": (None, 1.0)}}, "finite and sigma positive, but is"),
    "one name for two": (
        {"start": {"a.b": 1.0, "a": {"b": 2.0}}},
        "one name for each number, but has a.b, a.b",
    ),
    "method by name": ({"method": "lm"}, r"`method` must be LevenbergMarquardt\(\), .* 'lm'"),
    "class": (
        {"method": LevenbergMarquardt},
        r"`method` must be LevenbergMarquardt\(\), .* the class Lev",
    ),
    "bounds of nothing": ({"bounds": {"c": (0, 1)}}, "`bounds` must be of a, b, but has 'c'"),
    "prior of nothing": ({"priors": {"c": (0, 1)}}, "`priors` must be of a, b, but has 'c'"),
    "prior without width": ({"priors": {"a": (0, 0)}}, "sigma positive, but is"),
    "start not finite": ({"start": {"a": np.nan}}, "`start` must be finite real numbers, but a"),
    "no start": ({"start": {}}, "must hold at least one number"),
    "text": ({"start": {"a": "one"}}, "`start` must be finite real numbers, but a is 'one'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, unchecked_annotations):
    changes, message = BAD[case]
    arguments = {"residuals": lambda p: p["a"] * jnp.ones(3) + p["b"], "start": TWO, **changes}
    with pytest.raises(ValueError, match=message):
        js.fit(arguments.pop("residuals"), arguments.pop("start"), **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LevenbergMarquardt(steps=0), "`steps` must be positive"),
        (lambda: Gradient(optax.sgd(0.1), tolerance=-1), "`tolerance` must be positive"),
        (lambda: LevenbergMarquardt(steps="5"), "`steps` must be positive, but is '5'"),
        (lambda: MultiStart(LevenbergMarquardt(), 0), "`number` must be positive"),
        (lambda: MultiStart(20), "`method` must be LevenbergMarquardt.* int: 20"),
        (lambda: Gradient(optax.adam), "`optimizer` must be an optimiser of optax"),
    ],
)
def test_bad_method(make, message, unchecked_annotations):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_start_of_integers(line):
    assert is_optimum(js.fit(Line(), {"offset": 0, "slope": 1}), line.values)


# --- parameters of a model ------------------------------------------------------------------------

BI2SE3 = js.models.TopologicalInsulator.bi2se3(exchange=(0.1, 0.2, 0.3))


def test_parameters_of_a_model():
    chosen = Parameters(BI2SE3, ["M0", "exchange[2]"])
    assert chosen.start == {"M0": -0.28, "exchange[2]": 0.3}
    model = chosen.model({"M0": -0.1, "exchange[2]": 0.5})
    assert float(model.M0) == -0.1
    np.testing.assert_array_equal(model.exchange, [0.1, 0.2, 0.5])
    assert model.A0 == BI2SE3.A0
    np.testing.assert_array_equal(
        Parameters(BI2SE3, ["exchange"]).start["exchange"], [0.1, 0.2, 0.3]
    )


def test_parameters_of_a_model_in_a_model():
    chosen = Parameters(0.5 * BI2SE3 + BI2SE3, ["first.scale", "second.M0"])
    assert chosen.start == {"first.scale": 0.5, "second.M0": -0.28}
    model = chosen.model({"first.scale": 2.0, "second.M0": 0.0})
    assert (float(model.first.scale), float(model.second.M0)) == (2.0, 0.0)
    assert float(model.first.model.M0) == -0.28


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["m0"], r"must be of A0, A2, B0, .*exchange, but has 'm0'\. Did you mean 'M0'\?"),
        (["exchange[3]"], "but has 'exchange\\[3\\]'"),
        (["M0[0]"], "but has 'M0\\[0\\]'"),
        ([], "must name at least one parameter"),
        (["M0", "M0"], "must name each number once, but has 'M0' twice"),
        (["exchange", "exchange[0]"], "must name each number once"),
        ("M0", "`names` must be a list of names, but is 'M0'"),
    ],
)
def test_bad_names(names, message):
    with pytest.raises(ValueError, match=message):
        Parameters(BI2SE3, names)


def test_names_of_other_numbers():
    """An integer, which a user meant as a number, and complex matrices."""
    flat = eqx.tree_at(lambda model: model.mass, js.models.MassiveDirac(1.0, 0.1), 1)
    with pytest.raises(ValueError, match=r"has 'mass'\..* mass is of integers; make"):
        Parameters(flat, ["mass"])
    chain = js.HoppingModel(np.eye(1), [[0]], [[[1.0 + 0j]]], [[0.0]], None)
    with pytest.raises(ValueError, match=r"but has 'blocks'\..* blocks is complex"):
        Parameters(chain, ["blocks"])


def test_bad_values():
    with pytest.raises(ValueError, match="`values` must have the names M0, but has A0"):
        Parameters(BI2SE3, ["M0"]).model({"A0": 1.0})
    with pytest.raises(ValueError, match=r"shape \(3,\) for exchange, but has shape \(\)"):
        Parameters(BI2SE3, ["exchange"]).model({"exchange": 1.0})
    with pytest.raises(ValueError, match=r"shape \(\) for exchange\[1\], but has shape \(3,\)"):
        Parameters(BI2SE3, ["exchange[1]"]).model({"exchange[1]": np.ones(3)})


# --- a model on a mesh ----------------------------------------------------------------------------

TRUE = js.models.QiWuZhang(A=1.0, m=-1.2)
CHOSEN = Parameters(TRUE, ["A", "m"])
PLACES = {"mu": np.tile(np.linspace(-1.5, 1.5, 7), 2), "temperature": np.repeat([600.0, 1200.0], 7)}


def hall(model):
    return js.anomalous_hall(
        model, js.Grid((16, 16)), js.Levels(np.linspace(-1.5, 1.5, 7), [600.0, 1200.0])
    )


@pytest.fixture(scope="module")
def data():
    """Synthetic: the curves of `TRUE` with noise."""
    exact = np.asarray(hall(TRUE).to("e^2/h").component(flow="y", field="x").value).ravel()
    noisy = exact + 0.01 * np.random.default_rng(3).normal(size=14)
    return js.fitting.Data(noisy, 0.01, "yx", units="e^2/h", **PLACES)


@pytest.fixture(scope="module")
def fitted(data):
    return js.fit(lambda p: data.residuals(hall(CHOSEN.model(p))), {"A": 1.1, "m": -1.0})


def test_parameters_are_recovered(fitted):
    assert fitted.converged
    assert np.all(np.abs(fitted.values - [1.0, -1.2]) < 2 * fitted.standard_errors)
    assert np.all(fitted.standard_errors < 0.05)
    assert 0.3 < fitted.reduced_chi2 < 2


def test_covariance_is_that_of_finite_differences(data, fitted):
    h, columns = 1e-5, []
    for step in np.eye(2) * h:
        ends = (dict(zip("Am", fitted.values + sign * step, strict=True)) for sign in (1, -1))
        high, low = (np.asarray(data.residuals(hall(CHOSEN.model(p)))) for p in ends)
        columns.append((high - low) / (2 * h))
    jacobian = np.stack(columns, axis=1)
    np.testing.assert_allclose(fitted.covariance, np.linalg.inv(jacobian.T @ jacobian), rtol=1e-5)


def test_sensitivity():
    table = js.sensitivity(hall, TRUE, ["m"])
    assert table.dims == ("parameter", "temperature", "mu", "flow", "field")
    assert table.attrs["units"] == "S per unit of the parameter"
    assert float(table.value[0]) == -1.2
    high, low = (hall(js.models.QiWuZhang(A=1.0, m=m)).value for m in (-1.2 + 1e-5, -1.2 - 1e-5))
    difference = np.asarray(high - low) / 2e-5
    np.testing.assert_allclose(
        table.sel(parameter="m"), difference, atol=1e-6 * abs(difference).max()
    )
    with pytest.raises(ValueError, match="`names` must be of A, m, t0, but has 'M'"):
        js.sensitivity(hall, TRUE, ["M"])
    with pytest.raises(ValueError, match="`names` must be a list of names, but is 'm'"):
        js.sensitivity(hall, TRUE, "m")


def test_sensitivity_of_no_response(unchecked_annotations):
    with pytest.raises(ValueError, match="`quantity` must return a Response, but returns float"):
        js.sensitivity(lambda model: 1.0, TRUE, ["m"])
    with pytest.raises(ValueError, match="`quantity` must be a function of a model, but is of"):
        js.sensitivity(hall(TRUE), TRUE, ["m"])
    with pytest.raises(ValueError, match="`model` must be a Model, but is of type function"):
        js.sensitivity(TRUE, hall)


def test_log_likelihood():
    density = js.fitting.log_likelihood(Line())
    p = {"offset": 0.5, "slope": jnp.asarray(1.5)}
    residuals = (0.5 + 1.5 * X - MEASURED) / SIGMA
    np.testing.assert_allclose(density(p), -0.5 * np.sum(residuals**2), rtol=1e-12)
    slopes = jax.jit(jax.grad(density))(p)
    np.testing.assert_allclose(slopes["offset"], -np.sum(residuals / SIGMA), rtol=1e-10)
    np.testing.assert_allclose(slopes["slope"], -np.sum(residuals / SIGMA * X), rtol=1e-10)
    fixed = jax.grad(lambda slope: density({"offset": 0.5, "slope": slope}))(1.5)
    np.testing.assert_allclose(fixed, slopes["slope"], rtol=1e-12)
    single = jax.grad(lambda slope: density({"offset": 0.5, "slope": slope}))(jnp.float32(1.5))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, slopes["slope"], rtol=1e-5)
    moved = jax.grad(lambda shift: js.fitting.log_likelihood(Line(MEASURED + shift))(p))(0.0)
    np.testing.assert_allclose(moved, -slopes["offset"], rtol=1e-10)  # the data move, not the line


# --- pictures -------------------------------------------------------------------------------------


def test_plot(data, fitted):
    from matplotlib import pyplot

    axes = js.plot.fit(fitted, data, hall(CHOSEN.model(fitted.parameters)))
    assert list(axes) == ["data", "residuals", "A", "m, A", "m"]
    curve = axes["data"].lines[-1]
    assert curve.get_xdata().size == 7
    drawn = np.concatenate([line.get_ydata() for line in axes["residuals"].lines[:2]])
    np.testing.assert_allclose(drawn, fitted.residuals, atol=1e-4)
    ellipse = axes["m, A"].lines[0].get_xydata()
    reach = (ellipse.max(axis=0) - ellipse.min(axis=0)) / 2
    np.testing.assert_allclose(reach, fitted.standard_errors, rtol=1e-3)
    slope = np.corrcoef(ellipse.T)[0, 1]
    np.testing.assert_allclose(slope, fitted.correlation[0, 1], atol=0.02)
    pyplot.close("all")


def test_plot_leaves_out_what_is_not_determined(data, fitted):
    from matplotlib import pyplot

    lost = np.array([[np.inf, np.nan], [np.nan, 1e-4]])
    part = eqx.tree_at(lambda fit: fit.covariance, fitted, lost)
    figure = pyplot.figure()
    axes = js.plot.fit(part, data, hall(TRUE), figure=figure)
    assert list(axes) == ["data", "residuals", "m"]
    pyplot.close(figure)
