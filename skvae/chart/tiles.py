"""Sums of products of rows of vectors, tile by tile in registers, as compiled code.

All sums over splits, rules and spans of a chart are one operation: the sums over steps of A[row,
step] B[column, step] for some rows and columns, where A and B are vectors of numbers at addresses
that differ by fixed strides. A tile of four rows and four columns has its 16 sums in registers, so
that a step loads eight vectors for 16 products. LLVM does not find this form in loops over arrays;
here the instructions are built.

The code for all forms and sizes of tiles is large. It is compiled once, and called by its address.
A change of :func:`call_tiles` reaches cached functions that call it when their own files change.
"""

from functools import lru_cache

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from skvae.chain.compilation import address_of

LANES = 8  # numbers of a vector: a cache line
_LARGEST_TILE = 4  # rows and columns of a tile: 16 sums and 8 factors fill the registers
SUM, ADD, COUNT, SPREAD, BEST, BEST_SPREAD = range(6)  # forms of a tile: see _tile
_SAME_TERMS = (SUM, ADD, COUNT), (SPREAD,), (BEST,), (BEST_SPREAD,)  # one loop for several forms

_INT, _NUMBER = ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_NUMBER, LANES)


def _load(builder, address, spread=False):
    """Return the vector at an address, or the number there in all lanes."""
    if not spread:
        return builder.load(builder.inttoptr(address, _VECTOR.as_pointer()), align=8)
    number = builder.load(builder.inttoptr(address, _NUMBER.as_pointer()), align=8)
    undefined, first = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    one = builder.insert_element(undefined, number, first)
    return builder.shuffle_vector(one, undefined, zeros)


def _fused(builder, x, y, z):
    """Return x · y + z, rounded once where the processor can."""
    product = builder.fmul(x, y, flags=("contract",))
    return builder.fadd(product, z, flags=("contract",))


def _at(builder, address, stride, index):
    """Return the address of a row or column."""
    return builder.add(address, builder.mul(stride, ir.Constant(_INT, index)))


def _lane_sum(builder, vector):
    """Return the sum of a vector's numbers."""
    half = LANES
    while half > 1:
        half //= 2
        lanes = [(lane + half) % LANES for lane in range(LANES)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
        vector = builder.fadd(vector, builder.shuffle_vector(vector, vector, mask))
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _emit_terms(builder, form, rows, cols, a, a_row, a_step, b, b_col, b_step, n_steps):
    """Build the loop over the terms of all sums of a tile; return the sums, [row][column]."""
    best = form in (BEST, BEST_SPREAD)
    before = builder.block
    loop, done = (builder.append_basic_block(name) for name in ("terms", "done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    step, at_a, at_b = (builder.phi(_INT) for _ in range(3))
    sums = [[builder.phi(_VECTOR) for _ in range(cols)] for _ in range(rows)]
    right = [_load(builder, _at(builder, at_b, b_col, c)) for c in range(cols)]
    following = []
    for r in range(rows):
        left = _load(builder, _at(builder, at_a, a_row, r), form in (SPREAD, BEST_SPREAD))
        if best:
            values = [builder.fadd(left, other) for other in right]
            pairs = zip(values, sums[r], strict=True)
            row = [builder.select(builder.fcmp_ordered(">", x, y), x, y) for x, y in pairs]
        else:
            row = [_fused(builder, left, x, y) for x, y in zip(right, sums[r], strict=True)]
        following.append(row)
    zero, start = ir.Constant(_INT, 0), -float("inf") if best else 0.0
    next_step = builder.add(step, ir.Constant(_INT, 1))
    counters = (
        (step, zero, next_step),
        (at_a, a, builder.add(at_a, a_step)),
        (at_b, b, builder.add(at_b, b_step)),
    )
    vectors = [
        (phi, ir.Constant(_VECTOR, [start] * LANES), value)
        for phis, values in zip(sums, following, strict=True)
        for phi, value in zip(phis, values, strict=True)
    ]
    for phi, first, value in (*counters, *vectors):
        phi.add_incoming(first, before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", next_step, n_steps), loop, done)
    builder.position_at_end(done)
    return following


def _emit_stores(builder, form, sums, out, out_row, out_col, scale, scale_row):
    """Build the stores of a tile's sums, by its form."""
    for r, row in enumerate(sums):
        factor = _load(builder, _at(builder, scale, scale_row, r)) if form == ADD else None
        for c, value in enumerate(row):
            address = _at(builder, _at(builder, out, out_row, r), out_col, c)
            kind = _NUMBER if form == COUNT else _VECTOR
            pointer = builder.inttoptr(address, kind.as_pointer())
            if form == COUNT:
                value = _lane_sum(builder, value)
                value = builder.fadd(value, builder.load(pointer, align=8))
            elif form == ADD:
                value = _fused(builder, factor, value, builder.load(pointer, align=8))
            builder.store(value, pointer, align=8)


@intrinsic
def _tile(
    typing, form, rows, cols, a, a_row, a_step, b, b_col, b_step, n_steps, out, out_row, out_col,
    scale, scale_row,
):  # fmt: skip
    """Compute rows × cols sums over steps of A[row, step] B[column, step], vectors of columns.

    All arguments are integers: addresses, and strides in bytes. There is at least one step. The
    form is one of

    - ``SUM``: A is a vector; the sums are stored in ``out``;
    - ``ADD``: A is a vector; the sums times ``scale[row]`` are added to ``out``;
    - ``COUNT``: A is a vector; the lanes of the sums are added up and to the number in ``out``;
    - ``SPREAD``: A is a number; the sums are stored;
    - ``BEST``, ``BEST_SPREAD``: as ``SUM`` and ``SPREAD``, with the largest A + B for a sum.
    """
    given = (
        form, rows, cols, a, a_row, a_step, b, b_col, b_step, n_steps, out, out_row, out_col,
        scale, scale_row,
    )  # fmt: skip
    del typing

    def build(context, builder, _, args):
        kind, n_rows, n_cols = args[:3]
        key = kind
        for number in (n_rows, n_cols):
            key = builder.add(builder.mul(key, ir.Constant(_INT, 8)), number)
        end = builder.append_basic_block("end")
        cases = builder.switch(key, end)
        sizes = range(1, _LARGEST_TILE + 1)
        for forms, r, c in ((f, r, c) for f in _SAME_TERMS for r in sizes for c in sizes):
            block = builder.append_basic_block("tile")
            for form in forms:
                cases.add_case(ir.Constant(_INT, (8 * form + r) * 8 + c), block)
            builder.position_at_end(block)
            sums = _emit_terms(builder, forms[0], r, c, *args[3:10])
            stores = builder.switch(kind, end) if len(forms) > 1 else None
            for form in forms:
                if stores is not None:
                    block = builder.append_basic_block("stores")
                    stores.add_case(ir.Constant(_INT, form), block)
                    builder.position_at_end(block)
                _emit_stores(builder, form, sums, *args[10:])
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(*[types.int64] * len(given)), build


def _tiles(
    form, n_rows, n_cols, n_steps, n_next, a, a_row, a_step, a_next, b, b_col, b_step, b_next,
    out, out_row, out_col, out_next, scale, scale_row, scale_next,
):  # fmt: skip
    """Compute :func:`_tile` for any number of rows and columns, in tiles of almost equal sizes.

    All of this is repeated ``n_next`` times, at the next addresses.
    """
    row_tiles, col_tiles = -(-n_rows // _LARGEST_TILE), -(-n_cols // _LARGEST_TILE)
    for _ in range(n_next):
        c = 0
        for j in range(col_tiles):
            cols = (n_cols - c) // (col_tiles - j)
            r = 0
            for i in range(row_tiles):
                rows = (n_rows - r) // (row_tiles - i)
                _tile(
                    form, rows, cols, a + r * a_row, a_row, a_step, b + c * b_col, b_col, b_step,
                    n_steps, out + r * out_row + c * out_col, out_row, out_col,
                    scale + r * scale_row, scale_row,
                )  # fmt: skip
                r += rows
            c += cols
        a += a_next
        b += b_next
        out += out_next
        scale += scale_next


_N_ARGUMENTS = 20


@lru_cache(maxsize=1)
def tiles_address():
    """Return the address of the compiled :func:`_tiles`, which is large: it is compiled once."""
    return address_of(_tiles, types.void(*[types.int64] * _N_ARGUMENTS))


@intrinsic
def call_tiles(typing, tiles, form, sizes, a, b, out, scale):
    """Call :func:`_tiles` at an address.

    ``sizes`` are the numbers of rows, columns, steps and repetitions; the others an address and
    its strides.
    """
    given = tiles, form, sizes, a, b, out, scale
    del typing

    def build(context, builder, _, args):
        numbers = [args[1]]
        for group, width in zip(args[2:], (4, 4, 4, 4, 3), strict=True):
            numbers += [builder.extract_value(group, i) for i in range(width)]
        kind = ir.FunctionType(ir.VoidType(), [_INT] * _N_ARGUMENTS)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), numbers)
        return context.get_dummy_value()

    four = types.UniTuple(types.int64, 4)
    three = types.UniTuple(types.int64, 3)
    kinds = types.int64, types.int64, four, four, four, four, three
    assert len(kinds) == len(given)
    return types.void(*kinds), build


@intrinsic
def place_of(typing, address):
    """Return an address as a pointer, for :func:`numba.carray`."""
    del typing, address

    def build(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(args[0], kind)

    return types.voidptr(types.int64), build
