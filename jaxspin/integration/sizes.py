"""Sizes for which sums are compiled, so that others of about the same size compile nothing."""


def round_up(number: int, sizes: tuple[int, ...]) -> int:
    """The smallest of some sizes that is no smaller than a number; itself beyond all of them."""
    return next((size for size in sizes if size >= number), number)
