// Separable resizing of images, bilinear or bicubic with antialias, and the transposed map.
//
// Formula   y[b, i, j] = Σ_u Σ_v rows[i, u]·columns[j, v]·x[b, u, v];  dx[b, u, v] = Σ_i Σ_j rows[i, u]·columns[j, v]·dy[b, i, j].
//           Along an axis of n samples that becomes m, output i reads around (i + ½)·n/m − ½. Bilinear: the tent of its two neighbours,
//           clamped to the border. Bicubic: Keys' kernel with a = −½, wider by max(n/m, 1), cut at the border and normalised.
// Shapes    x, dx (batch, height, width, channels); y, dy (batch, out_height, out_width, channels).
// Bytes     each tensor once; neighbours' samples overlap in the caches.
// FLOPs     forward 2 a tap: 4 taps bilinear, about (4·max(n/m, 1))² bicubic; backward as many for each dy, and the weights.
// Scratch   none: weights are made from integers where they are used, exact up to their last rounding.
//           Threads take 16 bytes of a pixel's channels; where pixels are no whole number of those, a warp takes 32 neighbours of a line.
// Rounding  f32 inside; the result is rounded once.
// Source    Keys, "Cubic convolution interpolation for digital image processing" (1981); torch's interpolate.
#include "resize.h"
#include "rows.h"
#include "vectors.cuh"

/// Keys' kernel with a = −½.
static __device__ __forceinline__ float keys(float x) {
    x = fabsf(x);
    if (x < 1.0f) return (1.5f * x - 2.5f) * x * x + 1.0f;
    if (x < 2.0f) return ((-0.5f * x + 2.5f) * x - 4.0f) * x + 2.0f;
    return 0.0f;
}

/// The samples [first, last) of an axis.
struct Taps {
    int first, last;
};

/// An axis of `size` samples that becomes `out`. Places are integers in units of 1 / (2·out) samples.
struct Axis {
    int size, out;
    bool bicubic;
    /// One over the width of the tent, or of the part of Keys' kernel to 1, in units of places.
    float unit;

    __device__ __forceinline__ Axis(int size, int out, bool bicubic)
        : size(size), out(out), bicubic(bicubic), unit(1.0f / (float)(2 * (bicubic ? max(size, out) : out))) {}

    /// Twice the distance that a sample's centre lies before or behind output i's, in samples of out: (2j + 1)·out − (2i + 1)·size.
    __device__ __forceinline__ int apart(int i, int j) const { return (2 * j + 1) * out - (2 * i + 1) * size; }

    /// The samples that output i reads.
    __device__ __forceinline__ Taps taps(int i) const {
        int reach = bicubic ? 4 * max(size, out) : 2 * out, centre = (2 * i + 1) * size;
        // ⌊(centre ± reach)/(2·out) + ½⌋, within the axis.
        int first = max(centre - reach + out, 0) / (2 * out);
        return {min(first, size - 1), max(min((centre + reach + out) / (2 * out), size), 1)};
    }

    /// The outputs that read sample j, and perhaps some that do not.
    __device__ __forceinline__ Taps readers(int j) const {
        int reach = bicubic ? 4 * max(size, out) : 2 * out, centre = (2 * j + 1) * out;
        int first = max(centre - reach - size, 0) / (2 * size);
        return {first, min((centre + reach + size) / (2 * size) + 1, out)};
    }

    /// What output i takes of sample j, before it is normalised.
    __device__ __forceinline__ float weight(int i, int j) const {
        if (bicubic) return keys((float)apart(i, j) * unit);
        int place = min(max((2 * i + 1) * size - out, 0), 2 * out * (size - 1));
        return fmaxf((float)(2 * out - abs(2 * out * j - place)), 0.0f) * unit;
    }

    /// One over the sum of output i's weights.
    __device__ __forceinline__ float norm(int i) const {
        if (!bicubic) return 1.0f;
        Taps all = taps(i);
        float sum = 0.0f;
        for (int j = all.first; j < all.last; j++) sum += weight(i, j);
        return 1.0f / sum;
    }
};

/// Images and their axes. BACK: from y to x, by the transposed map.
template <class T, bool BACK> struct Images {
    const T *from;
    T *to;
    Axis rows, columns;
    uint32_t channels;

    static __device__ __forceinline__ Taps taps(const Axis &axis, int place) { return BACK ? axis.readers(place) : axis.taps(place); }

    /// What the result at `place` takes of the sample at `tap`, up to the scale of all its taps.
    static __device__ __forceinline__ float weight(const Axis &axis, int place, int tap) {
        if (!BACK) return axis.weight(place, tap);
        float weight = axis.weight(tap, place);
        return weight == 0.0f ? 0.0f : weight * axis.norm(tap);
    }
    static __device__ __forceinline__ float scale(const Axis &axis, int place) { return BACK ? 1.0f : axis.norm(place); }

    __device__ __forceinline__ int from_height() const { return BACK ? rows.out : rows.size; }
    __device__ __forceinline__ int from_width() const { return BACK ? columns.out : columns.size; }
    __device__ __forceinline__ int to_height() const { return BACK ? rows.size : rows.out; }
    __device__ __forceinline__ int to_width() const { return BACK ? columns.size : columns.out; }

    /// A thread's vector of one pixel's channels; blocks are those of `rows::pixels`.
    __device__ __forceinline__ void vectors() const {
        constexpr int N = Chunk<T>::N;
        uint32_t j = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (j >= to_width() || channel >= channels) return;
        uint32_t image = blockIdx.x / to_height(), i = blockIdx.x % to_height();
        Taps us = taps(rows, i), vs = taps(columns, j);
        float sum[N] = {};
        for (int v = vs.first; v < vs.last; v++) {
            float column = weight(columns, j, v);
            if (column == 0.0f) continue;
            for (int u = us.first; u < us.last; u++) {
                float share = column * weight(rows, i, u);
                if (share == 0.0f) continue;
                float sample[N];
                load(from + (((size_t)image * from_height() + u) * from_width() + v) * channels + channel, sample);
                for (int n = 0; n < N; n++) sum[n] += share * sample[n];
            }
        }
        float norm = scale(rows, i) * scale(columns, j);
        for (float &value : sum) value *= norm;
        store(sum, to + ((size_t)blockIdx.x * to_width() + j) * channels + channel);
    }

    /// A warp's 32 neighbours of a line. It adds up rows where their lines need them, 32 neighbours again at a time, and every lane picks
    /// its columns from the others' sums: so all access is to whole sectors, whatever the taps.
    __device__ __forceinline__ void line() const {
        constexpr uint32_t ALL = 0xFFFFFFFFu;
        int lane = threadIdx.x % 32, length = to_width() * channels, from_length = from_width() * channels;
        int place = blockIdx.y * blockDim.x + threadIdx.x;
        if (place - lane >= length) return;
        // Lanes beyond the end go along with the last place.
        int stride = channels, mine = min(place, length - 1), j = mine / stride, channel = mine % stride;
        uint32_t image = blockIdx.x / to_height(), i = blockIdx.x % to_height();
        Taps us = taps(rows, i), vs = taps(columns, j);
        constexpr int SECTOR = 32 / sizeof(T);
        int first = __shfl_sync(ALL, vs.first, 0) * stride / SECTOR * SECTOR, last = __shfl_sync(ALL, vs.last, 31) * stride;
        float sum = 0.0f;
        for (int window = first; window < last; window += 32) {
            float samples = 0.0f;
            for (int u = us.first; u < us.last; u++) {
                float row = weight(rows, i, u);
                const T *sample = from + ((size_t)image * from_height() + u) * from_length + window + lane;
                if (row != 0.0f && window + lane < from_length) samples += row * to_float(*sample);
            }
            // The columns whose samples are in this window.
            int v = max(vs.first, (window - channel + stride - 1) / stride);
            int end = min(vs.last, (window + 31 - channel + stride) / stride);
            for (; __any_sync(ALL, v < end); v++) {
                float sample = __shfl_sync(ALL, samples, (v * stride + channel) - window);
                float column = weight(columns, j, v);
                sum += v < end && column != 0.0f ? column * sample : 0.0f;
            }
        }
        float norm = scale(rows, i) * scale(columns, j);
        if (place < length) from_float(sum * norm, to + (size_t)blockIdx.x * length + place);
    }

    __device__ __forceinline__ void resample() const { channels % Chunk<T>::N == 0 ? vectors() : line(); }
};

template <class T> static __device__ __forceinline__ void resize_fwd(const ResizeFwd &p) {
    bool bicubic = p.kind == RESIZE_BICUBIC_ANTIALIAS;
    Axis rows((int)p.height, (int)p.out_height, bicubic), columns((int)p.width, (int)p.out_width, bicubic);
    Images<T, false>{at<const T>(p.x), at<T>(p.y), rows, columns, p.channels}.resample();
}

template <class T> static __device__ __forceinline__ void resize_bwd(const ResizeBwd &p) {
    bool bicubic = p.kind == RESIZE_BICUBIC_ANTIALIAS;
    Axis rows((int)p.height, (int)p.out_height, bicubic), columns((int)p.width, (int)p.out_width, bicubic);
    Images<T, true>{at<const T>(p.dy), at<T>(p.dx), rows, columns, p.channels}.resample();
}

// One block to a multiprocessor is what is asked for; without that ptxas saves registers on sm_100a and sm_120 until it spills.
VF_EXPORT(resize_fwd, ResizeFwd, ROWS_THREADS, 1)
VF_EXPORT(resize_bwd, ResizeBwd, ROWS_THREADS, 1)
