"""Results that are kept by a key, as many as were used last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """The results of the keys used last, at most so many."""

    def __init__(self, capacity: int):
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._capacity = capacity
        self._lock = threading.Lock()  # sums call from several threads

    def find(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return the result of a key, computed if it is not kept; errors are not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = compute()
        with self._lock:
            self._kept[key] = found
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return found
