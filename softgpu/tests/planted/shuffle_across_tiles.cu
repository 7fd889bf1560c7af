// Two tiles of 16 lanes execute the same exchanges, each with its own member mask; the bug reads from the other tile.
// LAUNCH: grid=1 block=32 args=fresh:32,iota:32
__device__ void exchanges(int* out, const int* in, int partner) {
    __shared__ int values[32];
    int t = threadIdx.x, tile = t & 16;
    unsigned mask = 0xffffu << tile;
    int got = __shfl_xor_sync(mask, in[t], partner); // FINDS: invalid_shuffle
    values[t] = got;
    __syncwarp(mask);
    int neighbour = values[t ^ 1];
    // Sums over t = tile … tile + 15; 32 lanes at once would give others.
    if (__reduce_add_sync(mask, t) != 16 * tile + 120) __trap();
    if (__ballot_sync(mask, t & 1) != (0xaaaau << tile)) __trap();
    if (__match_any_sync(mask, t / 8) != (0xffu << t / 8 * 8)) __trap();
    if (!__all_sync(mask, (t & 16) == tile)) __trap();
    if (__any_sync(mask, t == 0) != (tile == 0)) __trap();
    if (partner < 16 && neighbour != (t ^ 1 ^ partner)) __trap();
    out[t] = neighbour;
}

extern "C" __global__ void shuffle_across_tiles_bug(int* out, const int* in) { exchanges(out, in, 16); }

extern "C" __global__ void shuffle_across_tiles_ok(int* out, const int* in) { exchanges(out, in, 8); }
