"""Central differences of high order."""

STEPS = {1: 672, 2: -168, 3: 32, 4: -3}  # eighth-order central difference, over 840


def central_difference(function, at, step):
    """df/dx at x = `at`, for a scalar x."""
    pairs = (
        (weight, function(at + j * step), function(at - j * step)) for j, weight in STEPS.items()
    )
    return sum(weight * (plus - minus) for weight, plus, minus in pairs) / (840 * step)
