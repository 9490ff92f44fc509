"""Launches, bytes and waits of a program for a GPU, read from its optimised HLO.

A loop of known count multiplies what is inside of it; each turn of one of unknown count waits for
the host. A kernel reads of an operand that it only slices the slices, and writes of an array that
it updates in place the updates.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s32": 4, "u32": 4, "s64": 8, "u64": 8}
_BYTES |= {"bf16": 2, "f16": 2, "f32": 4, "c64": 8, "f64": 8, "c128": 16}
#: Instructions that are no launch.
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "iota"}
_FREE |= {"partition-id", "replica-id", "opt-barrier"}
_CALLED = r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)"


@dataclass
class Instruction:
    """One line of HLO."""

    name: str
    type: str
    operation: str
    operands: list[str]
    line: str
    is_root: bool

    def attribute(self, pattern: str) -> str | None:
        """What the first group of a pattern matches in the line."""
        found = re.search(pattern, self.line)
        return found.group(1) if found else None

    @property
    def called(self) -> str | None:
        """The computation that a fusion is made of."""
        return self.attribute(r"calls=%?([\w.\-]+)") if self.operation == "fusion" else None


@dataclass
class Kernel:
    """One launch, as often as its loops run it."""

    name: str
    times: int
    bytes: int
    #: The name of the function in the PTX, where it differs.
    ptx: str | None = None


@dataclass
class Traffic:
    """What a program launches, moves and waits for."""

    kernels: list[Kernel] = field(default_factory=list)
    #: Calls of libraries by their targets.
    calls: Counter = field(default_factory=Counter)
    callbacks: int = 0
    #: Turns of loops of unknown count, and branches: the host waits for a number of the device.
    waits: int = 0

    @property
    def launches(self) -> int:
        return sum(kernel.times for kernel in self.kernels)

    @property
    def bytes(self) -> int:
        return sum(kernel.times * kernel.bytes for kernel in self.kernels)


def read_traffic(text: str) -> Traffic:
    """The traffic of a program from its optimised HLO."""
    computations, entry = read_computations(text)
    traffic = Traffic()
    _walk(computations, entry, 1, traffic)
    return traffic


def read_computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, and the name of the one where the program begins."""
    found: dict[str, list[Instruction]] = {}
    name, entry = "", ""
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if head:
            name = head.group(2)
            found[name] = []
            entry = name if head.group(1) else entry
        elif line.startswith("}"):
            name = ""
        elif name and (instruction := _read_instruction(line.strip())):
            found[name].append(instruction)
    return found, entry


def _read_instruction(line: str) -> Instruction | None:
    found = re.match(r"(ROOT )?%?([\w.\-]+) = ", line)
    if not found:
        return None
    rest = line[found.end() :]
    end = _end_of_bracket(rest) if rest[0] == "(" else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    operation = re.match(r"[\w\-]+", rest).group()
    inside = rest[len(operation) :]
    operands = re.findall(r"%([\w.\-]+)", inside[: _end_of_bracket(inside)])
    return Instruction(found.group(2), kind, operation, operands, line, bool(found.group(1)))


def _end_of_bracket(text: str) -> int:
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return i + 1
    return len(text)


def count_bytes(kind: str) -> int:
    """Bytes of a type of HLO, of all arrays of a tuple.

    >>> count_bytes("(f64[2,3]{1,0}, pred[4]{0})")
    52
    """
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", kind)
    return sum(
        _BYTES.get(t, 4) * math.prod(map(int, filter(None, n.split(",")))) for t, n in arrays
    )


def _walk(computations, name: str, times: int, traffic: Traffic) -> None:
    """Add what a computation does when it runs so many times."""
    body = computations[name]
    types = {instruction.name: instruction.type for instruction in body}
    for instruction in body:
        operation = instruction.operation
        if operation in _FREE or operation.endswith("-done"):
            continue
        if operation in ("while", "call", "conditional", "async-start"):
            for inner, turns in _find_inner(instruction, times, traffic):
                _walk(computations, inner, turns, traffic)
        else:
            _add_kernel(computations, instruction, types, times, traffic)


def _find_inner(instruction: Instruction, times: int, traffic) -> Iterator[tuple[str, int]]:
    """The computations that an instruction runs, and how often; waits are counted here."""
    if instruction.operation == "while":
        count = instruction.attribute(r'known_trip_count":\{"n":"(\d+)"')
        traffic.waits += 0 if count else times
        yield instruction.attribute(r"body=%?([\w.\-]+)") or "", times * int(count or 1)
        return
    traffic.waits += times * (instruction.operation == "conditional")
    for inner in re.findall(_CALLED, instruction.line):
        yield inner, times


def _add_kernel(computations, instruction: Instruction, types, times: int, traffic) -> None:
    if instruction.operation == "custom-call":
        target = instruction.attribute(r'custom_call_target="([^"]+)"') or "unknown"
        traffic.calls[target] += times
        traffic.callbacks += times * bool(re.search("callback|host", target))
    body = computations.get(instruction.called, ())
    sizes = [count_bytes(types.get(name, "")) for name in instruction.operands]
    if body:
        sizes = [min(size, _count_read(body, i, size)) for i, size in enumerate(sizes)]
    written = _count_written(instruction, body)
    ptx = instruction.attribute(r'name = \\?"(\w+)')
    traffic.kernels.append(Kernel(instruction.name, times, sum(sizes) + written, ptx))


def _count_read(body: list[Instruction], number: int, whole: int) -> int:
    """Bytes that a fusion reads of one operand."""
    parameters = (i for i in body if i.operation == "parameter")
    start = next((i.name for i in parameters if f"parameter({number})" in i.line), "")
    total, pending, seen = 0, [start], set()
    while pending:
        name = pending.pop()
        for user in (i for i in body if name in i.operands):
            is_first = user.operands[0] == name
            if user.operation in ("bitcast", "copy") and user.name not in seen and not user.is_root:
                seen.add(user.name)
                pending.append(user.name)
            elif user.operation in ("dynamic-slice", "slice", "gather"):
                total += count_bytes(user.type) if is_first else 0  # else an index
            elif not (user.operation in ("dynamic-update-slice", "scatter") and is_first):
                return whole
    return total


def _count_written(instruction: Instruction, body) -> int:
    """Bytes that a kernel writes; an addition in place reads each number before."""
    total = count_bytes(instruction.type)
    types = {inner.name: inner.type for inner in body}
    for inner in body:
        if inner.operation == "dynamic-update-slice":
            total += count_bytes(types[inner.operands[1]]) - count_bytes(inner.type)
        if inner.operation == "scatter":
            total += 2 * count_bytes(types[inner.operands[2]]) - count_bytes(inner.type)
    return max(total, 0)
