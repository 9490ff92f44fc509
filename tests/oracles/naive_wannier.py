"""A second reader of Wannier90 files: loops over `split()`, no checks, for tiny files only.

It places every number where the file literally says, as a check of the reader that is tested.
"""

import numpy as np

BOHR = 0.529177210903


def real(word: bytes) -> float:
    word = word.lower().replace(b"d", b"e")
    if b"." in word[:-4] and word[-4:-3] in (b"+", b"-") and word[-3:].isdigit():
        word = word[:-4] + b"e" + word[-4:]  # Fortran's three digits of an exponent
    return float(word)


def whole(word: bytes) -> int:
    value = real(word)
    assert value == round(value)
    return round(value)


def lines(data: bytes) -> list[list[bytes]]:
    return [line.split() for line in data.split(b"\n")]


def naive(files: dict[str, bytes]) -> dict[str, object]:
    """lattice, centres, and H, r, S by cell, each (c, n, n) with its Hermitian part."""
    shifts = wsvec(files["_wsvec.dat"]) if "_wsvec.dat" in files else {}
    out = {}
    if "_tb.dat" in files:
        out["lattice"], weights, h, r = tb(files["_tb.dat"])
    else:
        weights, h = hr(files["_hr.dat"])
        r = by_line(lines(files["_r.dat"])[1:], 0, 3)[0] if "_r.dat" in files else None
    out["blocks"] = hermitian(assembled(h, weights, shifts))
    if r is not None:
        out["position"] = hermitian(assembled(r, weights, shifts))
        home = out["position"][0, 0, 0]
        out["centres"] = np.array([[x[i, i].real for x in home] for i in range(len(home[0]))])
    if ".win" in files and (lattice := win(files[".win"])) is not None:
        out.setdefault("lattice", lattice)
    checkpoint = next((name for name in (".chk", ".chk.fmt") if name in files), None)
    if checkpoint:
        values = chk(numbers_of(files[checkpoint], checkpoint))
        out.setdefault("lattice", values["lattice"])
        out.setdefault("centres", values["centres"])
        spn = next((name for name in (".spn", ".spn.fmt") if name in files), None)
        if spn:
            s = spin(values, numbers_of(files[spn], spn), list(weights))
            out["spin"] = hermitian(assembled(s, weights, shifts))
    if ".wout" in files:
        lattice, centres = wout(files[".wout"], len(next(iter(h.values()))[0]))
        out.setdefault("lattice", lattice)
        out.setdefault("centres", centres)
    if "_centres.xyz" in files:
        rows = lines(files["_centres.xyz"])[2:]
        n = len(next(iter(h.values()))[0])
        out.setdefault("centres", np.array([[real(x) for x in row[1:4]] for row in rows[:n]]))
    return out


def tb(data: bytes):
    rows = [row for row in lines(data)[1:] if row]
    lattice = np.array([[real(x) for x in row] for row in rows[:3]])
    words = [word for row in rows[3:] for word in row]
    n, count = whole(words[0]), whole(words[1])
    degeneracies, words = [whole(w) for w in words[2 : 2 + count]], words[2 + count :]
    operators = []
    for parts in (1, 3):
        blocks = {}
        for _ in range(count):
            cell, words = tuple(whole(w) for w in words[:3]), words[3:]
            block = np.zeros((parts, n, n), complex)
            for _ in range(n * n):
                place(block, words[: 2 + 2 * parts])
                words = words[2 + 2 * parts :]
            blocks[cell] = block
        operators.append(blocks)
    return lattice, dict(zip(operators[0], degeneracies, strict=True)), *operators


def place(block, words):
    m, n = whole(words[0]) - 1, whole(words[1]) - 1
    for part in range(len(block)):
        block[part, m, n] = complex(real(words[2 + 2 * part]), real(words[3 + 2 * part]))


def hr(data: bytes):
    rows = lines(data)[1:]
    count = int([row for row in rows if row][1][0])
    blocks, degeneracies = by_line(rows, count, 1)
    return dict(zip(blocks, degeneracies, strict=True)), blocks


def by_line(rows, weights: int, parts: int):
    words = [word for row in rows for word in row]
    n, count = whole(words[0]), whole(words[1])
    degeneracies, words = [whole(w) for w in words[2 : 2 + weights]], words[2 + weights :]
    blocks = {}
    for i in range(count * n * n):
        row = words[i * (5 + 2 * parts) : (i + 1) * (5 + 2 * parts)]
        cell = tuple(whole(w) for w in row[:3])
        place(blocks.setdefault(cell, np.zeros((parts, n, n), complex)), row[3:])
    return blocks, degeneracies


def wsvec(data: bytes):
    words = [word for row in lines(data)[1:] for word in row]
    found = {}
    while words:
        key = tuple(whole(w) for w in words[:5])
        count = whole(words[5])
        found[key] = [tuple(whole(w) for w in words[6 + 3 * i : 9 + 3 * i]) for i in range(count)]
        words = words[6 + 3 * count :]
    return found


def assembled(blocks, weights, shifts):
    out = {}
    for cell, block in blocks.items():
        for part, m, n in np.ndindex(block.shape):
            images = shifts.get((*cell, m + 1, n + 1), [(0, 0, 0)])
            for shift in images:
                target = tuple(c + s for c, s in zip(cell, shift, strict=True))
                one = out.setdefault(target, np.zeros(block.shape, complex))
                one[part, m, n] += block[part, m, n] / (weights[cell] * len(images))
    return out


def hermitian(blocks):
    zero = np.zeros_like(next(iter(blocks.values())))
    return {
        cell: (block + blocks.get(tuple(-c for c in cell), zero).conj().swapaxes(1, 2)) / 2
        for cell, block in blocks.items()
    }


def win(data: bytes):
    rows = []
    for line in data.lower().split(b"\n"):
        row = line.split(b"!")[0].split(b"#")[0].replace(b",", b" ").split()
        rows += [row] if row else []
    names = [b" ".join(row) for row in rows]
    if b"begin unit_cell_cart" not in names:
        return None
    block = rows[names.index(b"begin unit_cell_cart") + 1 :]
    unit = BOHR if block[0] == [b"bohr"] else 1.0
    return unit * np.array([[real(x) for x in row] for row in block[len(block[0]) == 1 :][:3]])


def wout(data: bytes, n: int):
    rows = lines(data)
    starts = [i for i, row in enumerate(rows) if row[:2] == [b"Lattice", b"Vectors"]]
    lattice = None
    if starts:
        unit = BOHR if rows[starts[0]][2].lower() == b"(bohr)" else 1.0
        lattice = unit * np.array(
            [[real(x) for x in row[1:]] for row in rows[starts[0] + 1 : starts[0] + 4]]
        )
    last = max(i for i, row in enumerate(rows) if row[:2] == [b"Final", b"State"])
    centres = []
    for line in data.split(b"\n")[last + 1 : last + 1 + n]:
        inner = line.split(b"(")[1].split(b")")[0]
        centres.append([real(x.strip()) for x in inner.split(b",")])
    bohr = any(row[1:5] == [b"Length", b"Unit", b":", b"Bohr"] for row in rows)
    return lattice, np.array(centres) * (BOHR if bohr else 1.0)


class numbers_of:
    """The items of a Fortran file, one after the other, formatted or not."""

    def __init__(self, data: bytes, name: str):
        self.data, self.text, self.at = data, name.endswith(".fmt"), 0

    def record(self) -> bytes:
        size = int.from_bytes(self.data[self.at : self.at + 4], "little")
        start, self.at = self.at + 4, self.at + 8 + size
        return self.data[start : start + size]

    def line(self) -> bytes:
        start, end = self.at, self.data.find(b"\n", self.at)
        if start >= len(self.data):
            raise EOFError
        self.at = end + 1 if end >= 0 else len(self.data)
        return self.data[start : self.at]

    def comment(self):
        self.line() if self.text else self.record()

    def take(self, count: int, form: str):
        if not self.text:
            return np.frombuffer(self.record(), form)[:count] if count else (self.record(), [])[1]
        words = []
        while len(words) < count:
            words += self.line().split()
        return np.array([real(w) for w in words])


def chk(file: numbers_of):
    out = {}
    file.comment()
    bands = int(file.take(1, "<i4")[0])
    excluded = int(file.take(1, "<i4")[0])
    file.take(excluded, "<i4")
    out["lattice"] = file.take(9, "<f8").reshape(3, 3).T
    file.take(9, "<f8")
    points = int(file.take(1, "<i4")[0])
    file.take(3, "<i4")
    out["k"] = file.take(3 * points, "<f8").reshape(points, 3)
    neighbours = int(file.take(1, "<i4")[0])
    n = int(file.take(1, "<i4")[0])
    file.comment()
    disentangled = file.take(1, "<i4")[0]
    states = np.zeros((points, bands, n), complex)
    if disentangled:
        file.take(1, "<f8")
        window = file.take(points * bands, "<i4").reshape(points, bands)
        file.take(points, "<i4")
        optimal = file.take(2 * points * bands * n, "<f8").view(complex)
        optimal = optimal.reshape(points, n, bands)
    unitary = file.take(2 * points * n * n, "<f8").view(complex).reshape(points, n, n)
    for k in range(points):
        row = 0
        for b in range(bands):
            if not disentangled:
                states[k, b] = unitary[k, :, b]
            elif window[k, b]:
                states[k, b] = unitary[k] @ optimal[k, :, row]
                row += 1
    for _ in range(points * neighbours * n * n if file.text else 1):
        file.comment()
    out["states"], out["centres"] = states, file.take(3 * n, "<f8").reshape(n, 3)
    return out


def spin(values, file: numbers_of, cells):
    file.comment()
    bands, points = (int(x) for x in file.take(2, "<i4"))
    n = values["states"].shape[2]
    out = {cell: np.zeros((3, n, n), complex) for cell in cells}
    for k in range(points):
        elements = file.take(3 * bands * (bands + 1), "<f8").view(complex).reshape(-1, 3)
        sigma = np.zeros((3, bands, bands), complex)
        pairs = [(a, b) for a in range(bands) for b in range(a + 1)]
        for (a, b), x in zip(pairs, elements, strict=True):
            sigma[:, b, a] = x
            sigma[:, a, b] = x.conj()
        v = values["states"][k]
        for cell in cells:
            phase = np.exp(-2j * np.pi * np.dot(values["k"][k], cell)) / points
            out[cell] += phase * (v.conj().T @ sigma @ v)
    return out
