"""The Kubo-Streda formula by brute force: no Fermi surface, no expansion in the disorder.

Self-consistent Born approximation for the self-energy, ladder of impurity lines for the vertex,
both as sums over all k, for 𝒲[X] = u0² Σ_c A_c X A_c (scalar disorder: A = 1). Only the
anti-Hermitian part of the self-energy is kept; the other one shifts H.

    Γ = −Im 𝒲[Σ_k G^R],  G^R = (ε − H + iΓ)^(-1)
    B̃ = B + 𝒲[Σ_k G^R B̃ G^A],  K_AB = (1/2π) Σ_k Tr A G^R B̃ G^A

σ_ij is K of the velocities v_i, v_j. (K_AB − K_BA)/2 is what has the time-reversal signature
opposite to that of the Drude term, and stays finite without disorder. Sources: Streda, J. Phys. C
15, L717 (1982); Sinitsyn et al., Phys. Rev. B 75, 045315 (2007).

Units: ħ = e = 1, energies in eV, lengths in Å. Pure NumPy, and slow: 10⁴ to 10⁶ matrices for each
strength of the disorder, for G^R G^A is as narrow as Γ around the Fermi surface.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxspin.reference.hamiltonians import check_hermitian

#: The Pauli matrices (identity, x, y, z).
PAULI = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])

#: Distance to the Fermi surface, relative to its radius, below which the nodes are equidistant.
CORE = 5e-6
PANEL = 1.6  # in units of the logarithm of the distance


def correlations(
    hamiltonian: np.ndarray,
    operators: np.ndarray,
    weight: np.ndarray,
    energy: float,
    strength: float,
    *,
    matrices: np.ndarray | None = None,
) -> np.ndarray:
    """Fermi-surface (RA) correlations K_AB = (1/2π) Σ_k Tr A G^R B̃ G^A of operators, with disorder.

    At fixed density: without the mean of an operator over the states at the Fermi energy.

    Args:
        hamiltonian: H (K, n, n) at nodes that resolve the Fermi surface (`disk_nodes`), eV.
        operators: A (o, K, n, n) there.
        weight: d²k/(2π)² of each node (K,).
        energy: Fermi energy, eV.
        strength: u0², eV² Å².
        matrices: the A_c (c, n, n) of the disorder; None is scalar disorder.
    Returns:
        K (o, o); of velocities in eV Å it is a conductivity in units of e²/ħ.
    Raises:
        ValueError: arrays that do not fit, matrices that are not Hermitian, a strength that is not
            positive.
    """
    hamiltonian = np.asarray(hamiltonian)
    points, n = hamiltonian.shape[:1], hamiltonian.shape[-1]
    hamiltonian = check_hermitian("hamiltonian", hamiltonian, (*points, n, n))
    operators = check_hermitian("operators", operators, (len(operators), *points, n, n))
    matrices = np.eye(n)[None] if matrices is None else np.asarray(matrices)
    matrices = check_hermitian("matrices", matrices, (len(matrices), n, n))
    _check_numbers(weight, points, strength)
    averaged = strength * np.einsum("cij,clm->imjl", matrices, matrices).reshape(n * n, n * n)
    green, width = _solve_self_energy(hamiltonian, weight, energy, averaged)
    operators = _remove_mean(operators, green, weight)
    return _sum_ladder(operators, weight, green, width, averaged)


def _check_numbers(weight, points, strength) -> None:
    if np.shape(weight) != points:
        raise ValueError(
            f"Argument `weight` must be a number for each of the {points[0]} nodes, "
            f"but has shape {np.shape(weight)}."
        )
    if np.ndim(strength) or not strength > 0:
        raise ValueError(f"Argument `strength` must be one positive number, but is {strength!r}.")


def _remove_mean(operators, green, weight):
    """Operators less their mean over the states at the Fermi energy."""
    spectral = weight[:, None, None] * (green - green.conj().swapaxes(1, 2))
    mean = np.einsum("okij,kji->o", operators, spectral) / np.einsum("kii->", spectral)
    return operators - mean[:, None, None, None] * np.eye(green.shape[-1])


def _sum_ladder(operators, weight, green, width, averaged):
    """K_AB with all impurity lines between the two vertices."""
    n = green.shape[-1]
    weighted = weight[:, None, None] * green
    advanced = green.conj().swapaxes(1, 2)
    ladder = weighted.reshape(-1, n * n).T @ advanced.reshape(-1, n * n)  # (ij, lm)
    ladder = ladder.reshape(n, n, n, n).transpose(0, 3, 1, 2).reshape(n * n, n * n)
    into = weighted @ operators @ advanced  # w G^R B G^A
    out = np.sum(weight[:, None, None] * (advanced @ operators @ green), axis=1)
    bare = np.sum(into, axis=1).reshape(-1, n * n).T
    # The charge, Γ = 𝒲[Σ_k G^R Γ G^A], which no operator here excites.
    charge = np.outer(width.ravel(), width.ravel().conj()) / np.sum(np.abs(width) ** 2)
    matrix = np.eye(n * n) - averaged @ ladder + charge
    summed = np.linalg.solve(matrix, averaged @ bare)
    direct = operators.reshape(len(operators), -1) @ into.swapaxes(2, 3).reshape(len(into), -1).T
    return (direct + out.swapaxes(1, 2).reshape(-1, n * n) @ summed).real / (2 * np.pi)


_STEPS = 10  # of the self-energy; each is nearer by a factor of about Γ/ε


def _solve_self_energy(hamiltonian, weight, energy, averaged):
    """G^R (K, n, n) and Γ in the self-consistent Born approximation."""
    one = np.eye(hamiltonian.shape[-1])
    green = energy * one - hamiltonian
    width = (averaged @ one.ravel()).reshape(one.shape)
    for _ in range(_STEPS):
        green = np.linalg.inv(energy * one - hamiltonian + 1j * width)
        total = np.tensordot(weight, green, axes=1)
        width = -(averaged @ (total - total.conj().T).ravel()).reshape(one.shape) / 2j
    return green, width


def extrapolate_to_no_disorder(
    of_strength: Callable[[float], np.ndarray], strengths: Sequence[float]
) -> np.ndarray:
    """Limit u0² → 0 of an array that depends on u0², by the polynomial through all strengths.

    Args:
        of_strength: the array at one u0².
        strengths: two or more values of u0².
    Raises:
        ValueError: fewer than two different strengths.
    """
    if len(set(strengths)) < 2 or len(set(strengths)) < len(strengths):
        raise ValueError(
            f"Argument `strengths` must be two or more different numbers, but is {strengths!r}."
        )
    values = np.array([of_strength(strength) for strength in strengths])
    flat = values.reshape(len(values), -1)
    return np.polyfit(strengths, flat, len(flat) - 1)[-1].reshape(values.shape[1:])


# --- Nodes that resolve the Fermi surface ---------------------------------------------------------


def refine_rays(roots: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radii and widths dk (n, A) between 0 and reach (A,), on rays that cross ε = mu at (c, A).

    r = root (1 + CORE sinh s), Gauss-Legendre on panels in s: equal numbers of nodes in each decade
    of the distance, for G^R G^A is as narrow as Γ/v. Between two roots the halves of the interval.
    """
    roots = np.sort(roots, axis=0)
    between = (roots[1:] + roots[:-1]) / 2
    low = np.concatenate([np.zeros_like(roots[:1]), between])
    high = np.concatenate([between, np.broadcast_to(reach, roots[:1].shape)])
    rules = [_refine_around(*interval) for interval in zip(roots, low, high, strict=True)]
    radii, widths = zip(*rules, strict=True)
    return np.concatenate(radii), np.concatenate(widths)


def _refine_around(root, low, high):
    start, stop = (np.arcsinh((end / root - 1) / CORE) for end in (low, high))
    panels = int(np.ceil(np.max(stop - start) / PANEL))
    x, w = np.polynomial.legendre.leggauss(12)
    fraction = ((np.arange(panels)[:, None] + (1 + x) / 2) / panels).reshape(-1, 1)
    share = np.tile(w / 2 / panels, panels)[:, None]
    s = start + (stop - start) * fraction
    scale = CORE * root
    return root + scale * np.sinh(s), scale * np.cosh(s) * (stop - start) * share


def disk_nodes(
    crossings: Callable[[np.ndarray], np.ndarray], reach: float, angles: int
) -> tuple[np.ndarray, np.ndarray]:
    """k (2, K) and weights d²k/(2π)² in the disk |k| < reach, refined where rays cross ε = mu.

    Args:
        crossings: radii (c, A) of the Fermi surface at angles (A,).
        angles: number of equidistant rays.
    """
    theta = 2 * np.pi * np.arange(angles) / angles
    share = np.full(angles, 2 * np.pi / angles)
    return _polar_nodes(theta, share, crossings(theta), np.full(1, reach))


def square_zone_nodes(
    crossings: Callable[[np.ndarray], np.ndarray], angles: int
) -> tuple[np.ndarray, np.ndarray]:
    """k (2, K) and weights d²k/(2π)² in |k_x|, |k_y| < π, refined where rays cross ε = mu.

    Args:
        crossings: radii (c, A) of the Fermi surface at angles (A,).
        angles: number of rays in each octant.
    """
    x, w = np.polynomial.legendre.leggauss(angles)
    theta = (np.pi / 4 * (np.arange(8)[:, None] + (1 + x) / 2)).ravel()
    reach = np.pi / np.maximum(abs(np.cos(theta)), abs(np.sin(theta)))
    return _polar_nodes(theta, np.tile(np.pi / 8 * w, 8), crossings(theta), reach)


def _polar_nodes(theta, share, roots, reach):
    k, dk = refine_rays(roots, reach)
    points = k * np.array([np.cos(theta), np.sin(theta)])[:, None]
    return points.reshape(2, -1), (k * dk * share / (2 * np.pi) ** 2).ravel()


# --- Models of two bands --------------------------------------------------------------------------

#: Coefficients d_μ(k_x, k_y) of H = Σ_μ d_μ σ_μ, real and analytic, μ = 0, x, y, z.
Coefficients = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]


def pauli_hamiltonian(coefficients: Coefficients, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H (K, 2, 2) and its slopes (2, K, 2, 2) of H = Σ_μ d_μ(k_x, k_y) σ_μ, by a complex step."""
    step = 1e-30  # d(k + i step) = d + i step ∂d, to rounding
    d = coefficients(*k)
    slopes = [coefficients(k[0] + 1j * step, k[1]), coefficients(k[0], k[1] + 1j * step)]
    slopes = np.array([[np.broadcast_to(np.imag(c), k[0].shape) for c in s] for s in slopes]) / step
    d = np.array([np.broadcast_to(c, k[0].shape) for c in d])
    return np.einsum("mk,mij->kij", d, PAULI), np.einsum("xmk,mij->xkij", slopes, PAULI)


def find_crossing(
    coefficients: Coefficients, band: int, energy: float, outermost: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Root of ε_band = energy at k between 0 and `outermost`, as a function of the angles (A,)."""

    def find_roots(theta):
        low, high = np.zeros_like(theta), np.full_like(theta, outermost)
        for _ in range(60):
            k = (low + high) / 2
            d = coefficients(k * np.cos(theta), k * np.sin(theta))
            inside = d[0] + (2 * band - 1) * np.sqrt(d[1] ** 2 + d[2] ** 2 + d[3] ** 2) < energy
            low, high = np.where(inside, k, low), np.where(inside, high, k)
        return low[None]

    return find_roots


def dirac_cone_with_range(
    radius: np.ndarray,
    width: np.ndarray,
    *,
    mass: float,
    energy: float,
    strength: float,
    length: float,
) -> float:
    """(σ_yx − σ_xy)/2 of H = k_x σ_y − k_y σ_x + M σ_z for W(q) = u0² exp(−q² length²/2).

    H(k, θ) = U H(k, 0) U†, U = exp(−iθσ_z/2). A matrix of angular momentum j is e^(ijθ) U X(k) U†,
    with elements that go as e^(imθ), m = [[j, j − 1], [j + 1, j]], and W couples each by itself:
    W_m(k, k') = u0² exp(−(k² + k'²) length²/2) I_m(k k' length²). The self-energy has j = 0, the
    velocity v_x + i v_y has j = 1, and Tr (v_x − i v_y) G (v_x + i v_y) G gives both components.

    Args:
        radius, width: k and dk of the nodes, (K,).
        mass, energy: M and the Fermi energy, eV; the velocity is 1 eV Å.
        strength, length: u0² in eV² Å², the range of the disorder in Å.
    """
    _, x, y, z = PAULI
    share = radius * width / (2 * np.pi)
    decay = strength * np.exp(-((radius[:, None] - radius) ** 2) * length**2 / 2) * share
    couple = decay * scaled_bessel(2, np.outer(radius, radius) * length**2)
    green = _solve_radial_self_energy(
        radius[:, None, None] * y + mass * z, energy, strength, couple[np.array([[0, 1], [1, 0]])]
    )
    advanced = green.conj().swapaxes(1, 2)
    bare = np.broadcast_to(y - 1j * x, green.shape)
    ladder = np.einsum("ijkq,qil,qmj->kijqlm", couple[np.array([[1, 0], [2, 1]])], green, advanced)
    ladder = ladder.reshape(bare.size, bare.size)
    vertex = np.linalg.solve(np.eye(bare.size) - ladder, bare.ravel()).reshape(bare.shape)
    traced = np.einsum("kij,kji->k", (y + 1j * x) @ green, vertex @ advanced) @ share
    return -traced.imag / 2 / (2 * np.pi)


def _solve_radial_self_energy(hamiltonian, energy, strength, couple):
    """G^R (K, 2, 2), with the self-energy of angular momentum 0."""
    one = PAULI[0]
    green, damping = energy * one - hamiltonian, strength * one
    for _ in range(_STEPS):
        green = np.linalg.inv(energy * one - hamiltonian + 1j * damping)
        lifetime = (green.conj().swapaxes(1, 2) - green) / 2j
        damping = np.einsum("ijkq,qij->kij", couple, lifetime)
    return green


def scaled_bessel(highest: int, x: np.ndarray) -> np.ndarray:
    """e^(−x) I_m(x) for m = 0, ..., `highest` and x ≥ 0, in front of the axes of x.

    I_m(x) = (1/π) ∫_0^π e^(x cos θ) cos mθ dθ by the trapezoidal rule of N intervals, whose error
    is I_(2N−m)(x): below 1e-16 of I_0 for 2N = 64 + 9 sqrt(x).
    """
    intervals = int(32 + 4.5 * np.sqrt(np.max(x)))
    total = np.zeros((highest + 1, *x.shape))
    for i in range(intervals + 1):
        theta = np.pi * i / intervals
        share = (0.5 if i in (0, intervals) else 1.0) / intervals
        values = share * np.exp(x * (np.cos(theta) - 1))
        for m in range(highest + 1):
            total[m] += np.cos(m * theta) * values
    return total
