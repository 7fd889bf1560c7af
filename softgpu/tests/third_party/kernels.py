"""Kernels for Triton: what another compiler than nvcc makes of softmax, layer norm, products and attention."""

import triton
import triton.language as tl


@triton.jit
def softmax_rows(y, x, stride_y, stride_x, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    v = tl.load(x + row * stride_x + at, mask=mask, other=-float("inf"))
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(y + row * stride_y + at, e / tl.sum(e, axis=0), mask=mask)


@triton.jit
def layer_norm_forward(y, x, weight, bias, mean, rstd, stride, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    x += row * stride
    y += row * stride
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(x + at, mask=at < columns, other=0.0).to(tl.float32)
    mu = tl.sum(total, axis=0) / columns
    squares = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        v = tl.load(x + at, mask=at < columns, other=0.0).to(tl.float32)
        d = tl.where(at < columns, v - mu, 0.0)
        squares += d * d
    r = 1 / tl.sqrt(tl.sum(squares, axis=0) / columns + eps)
    tl.store(mean + row, mu)
    tl.store(rstd + row, r)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        mask = at < columns
        v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        w = tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
        b = tl.load(bias + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(y + at, (v - mu) * r * w + b, mask=mask)


@triton.jit
def layer_norm_backward(dx, dy, dweight, dbias, x, weight, mean, rstd, locks, stride, columns, GROUPS: tl.constexpr,
                        BLOCK: tl.constexpr):
    """dweight and dbias are sums for groups of rows; a lock each, and a count of sums beyond the first."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    v = tl.load(x + row * stride + at, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(dy + row * stride + at, mask=mask, other=0.0).to(tl.float32)
    w = tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
    r = tl.load(rstd + row)
    n = tl.where(mask, (v - tl.load(mean + row)) * r, 0.0)
    wg = tl.where(mask, w * g, 0.0)
    a = tl.sum(n * wg, axis=0) / columns
    b = tl.sum(wg, axis=0) / columns
    tl.store(dx + row * stride + at, (wg - (n * a + b)) * r, mask=mask)
    group = row % GROUPS
    dw = g * n
    db = g
    lock = locks + group
    first = locks + GROUPS + group
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    summed = tl.load(first)
    # All threads of the program have read it before one of them sets it.
    tl.debug_barrier()
    if summed == 0:
        tl.atomic_xchg(first, 1)
    else:
        dw += tl.load(dweight + group * columns + at, mask=mask, other=0.0)
        db += tl.load(dbias + group * columns + at, mask=mask, other=0.0)
    tl.store(dweight + group * columns + at, dw, mask=mask)
    tl.store(dbias + group * columns + at, db, mask=mask)
    # All threads of the program have stored before the lock is given back.
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


@triton.jit
def layer_norm_backward_sums(dweight, dbias, dweight_groups, dbias_groups, groups, columns, ROWS: tl.constexpr,
                             BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    dw = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    db = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for start in range(0, groups, ROWS):
        rows = start + tl.arange(0, ROWS)
        mask = (rows[:, None] < groups) & (at[None, :] < columns)
        dw += tl.load(dweight_groups + rows[:, None] * columns + at[None, :], mask=mask, other=0.0)
        db += tl.load(dbias_groups + rows[:, None] * columns + at[None, :], mask=mask, other=0.0)
    tl.store(dweight + at, tl.sum(dw, axis=0), mask=at < columns)
    tl.store(dbias + at, tl.sum(db, axis=0), mask=at < columns)


@triton.jit
def matmul(c, a, b, m, n, k, stride_a, stride_b, stride_c, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
           BLOCK_K: tl.constexpr, GROUP: tl.constexpr):
    """Blocks go down GROUP rows of tiles before they go right, so that tiles of b are used again from the cache."""
    program = tl.program_id(0)
    tiles_m, tiles_n = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    group = program // (GROUP * tiles_n)
    rows = min(tiles_m - group * GROUP, GROUP)
    tile_m = group * GROUP + program % (GROUP * tiles_n) % rows
    tile_n = program % (GROUP * tiles_n) // rows
    at_m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    at_n = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    at_k = tl.arange(0, BLOCK_K)
    from_a = a + at_m[:, None] * stride_a + at_k[None, :]
    from_b = b + at_k[:, None] * stride_b + at_n[None, :]
    sum = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        tile_a = tl.load(from_a, mask=(at_m[:, None] < m) & (at_k[None, :] < k - start), other=0.0)
        tile_b = tl.load(from_b, mask=(at_k[:, None] < k - start) & (at_n[None, :] < n), other=0.0)
        sum = tl.dot(tile_a, tile_b, sum)
        from_a += BLOCK_K
        from_b += BLOCK_K * stride_b
    out = sum.to(c.dtype.element_ty)
    tl.store(c + at_m[:, None] * stride_c + at_n[None, :], out, mask=(at_m[:, None] < m) & (at_n[None, :] < n))


@triton.jit
def attention_forward(out, lse, q, k, v, scale, queries, keys, stride_head_q, stride_head_k, CAUSAL: tl.constexpr,
                      HEAD: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """One block of queries of one head; rows of q, k and v are HEAD long and lie one after the other."""
    head = tl.program_id(1)
    at_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    at_n = tl.arange(0, BLOCK_N)
    at_d = tl.arange(0, HEAD)
    q_tile = tl.load(q + head * stride_head_q + at_m[:, None] * HEAD + at_d[None, :], mask=at_m[:, None] < queries, other=0.0)
    top = tl.full([BLOCK_M], -float("inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    sum = tl.zeros([BLOCK_M, HEAD], dtype=tl.float32)
    to_log2 = scale * 1.4426950408889634
    end = keys
    if CAUSAL:
        end = min(keys, (tl.program_id(0) + 1) * BLOCK_M)
    for start in range(0, end, BLOCK_N):
        rows = start + at_n
        k_tile = tl.load(k + head * stride_head_k + rows[None, :] * HEAD + at_d[:, None], mask=rows[None, :] < keys, other=0.0)
        s = tl.dot(q_tile, k_tile) * to_log2
        allowed = rows[None, :] < keys
        if CAUSAL:
            allowed = allowed & (rows[None, :] <= at_m[:, None])
        s = tl.where(allowed, s, -1e30)
        new_top = tl.maximum(top, tl.max(s, axis=1))
        p = tl.exp2(s - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(p, axis=1)
        v_tile = tl.load(v + head * stride_head_k + rows[:, None] * HEAD + at_d[None, :], mask=rows[:, None] < keys, other=0.0)
        sum = tl.dot(p.to(v_tile.dtype), v_tile, sum * shrink[:, None])
        top = new_top
    tl.store(lse + head * queries + at_m, (top + tl.log2(total)) * 0.6931471805599453, mask=at_m < queries)
    to = out + head * stride_head_q + at_m[:, None] * HEAD + at_d[None, :]
    tl.store(to, (sum / total[:, None]).to(out.dtype.element_ty), mask=at_m[:, None] < queries)


@triton.jit
def running_sums(sums, order, x, columns, BLOCK: tl.constexpr):
    """A scan and a sort: what shuffles and shared memory are used for beside reductions."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * columns + at, mask=at < columns, other=float("inf"))
    tl.store(sums + row * columns + at, tl.cumsum(tl.where(at < columns, v, 0.0), axis=0), mask=at < columns)
    tl.store(order + row * columns + at, tl.sort(v), mask=at < columns)


@triton.jit
def dropout(y, x, n, p, seed, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    keep = tl.rand(seed, at) > p
    tl.store(y + at, tl.where(keep, tl.load(x + at, mask=mask, other=0.0) / (1 - p), 0.0), mask=mask)
