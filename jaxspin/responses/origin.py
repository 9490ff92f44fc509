"""Origin of a response: everything that was put in, versions and date."""

import functools
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from jaxspin.engine.checkpoint import describe
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import printable


class Origin:
    """Input of a computation by name: model, mesh, levels, degeneracy, versions, date.

    JAX compares what is static in the results of two calls. Two origins count as equal there, so
    that another date or another parameter compiles nothing again.
    """

    def __init__(self, texts: Mapping[str, str] | None = None):
        self._texts = dict(texts or {})

    @property
    def texts(self) -> dict[str, str]:
        """The entries by their names, e.g. "model.M0" and "mesh.radial"."""
        return dict(self._texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return hash(Origin)

    def __repr__(self) -> str:
        if not self._texts:
            return "Origin: not recorded"
        width = max(map(len, self._texts))
        return printable("\n".join(f"{name:{width}}  {x}" for name, x in self._texts.items()))


@functools.cache
def _find_versions() -> dict[str, str]:
    return {name: version(name) for name in ("jaxspin", "jax")}


def record_origin(model: object, **given: object) -> Origin:
    """The origin of the responses of a model at what is given, by name; empty where traced."""
    if is_traced(model, given):
        return Origin()
    parameters = describe(model=model)
    digest = hashlib.sha256("\n".join(f"{k} {v}" for k, v in parameters.items()).encode())
    return Origin(
        {
            **parameters,
            "model, digest": digest.hexdigest()[:16],
            **describe(**given),
            **_find_versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
