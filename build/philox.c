// kernels/philox.h for the host: values first … first + count − 1 of the sequence (seed, stream).
#include "philox.h"
#include <stddef.h>

#define FILL(name, type, take)                                                                              \
    void name(uint64_t seed, uint64_t stream, uint64_t first, type *out, size_t count) {                    \
        for (size_t done = 0; done < count;) {                                                              \
            uint64_t at = first + done;                                                                     \
            struct PhiloxBlock block = philox_block(seed, stream, at / 4);                                  \
            type values[4];                                                                                 \
            take;                                                                                           \
            for (uint64_t lane = at % 4; lane < 4 && done < count; lane++) out[done++] = values[lane];      \
        }                                                                                                   \
    }

FILL(vf_philox_u32, uint32_t, for (int i = 0; i < 4; i++) values[i] = block.word[i])
FILL(vf_philox_uniform, float, for (int i = 0; i < 4; i++) values[i] = philox_uniform(block.word[i]))
FILL(vf_philox_normal, float, philox_normals(block, values))

// The bijection itself, for its published test vectors.
void vf_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    struct PhiloxBlock block = {{counter[0], counter[1], counter[2], counter[3]}};
    block = philox4x32_10(block, key[0], key[1]);
    for (int i = 0; i < 4; i++) out[i] = block.word[i];
}
