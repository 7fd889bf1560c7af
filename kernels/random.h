// Random tensors from Philox4x32-10 (philox.h): value i is a pure function of (seed, stream, i).
#pragma once
#include <stdint.h>

/// Threads per block; one takes 16 bytes of y and the grid covers them all once.
#define RANDOM_THREADS 256

/// y = standard normal values.
struct RandomNormal {
    uint64_t y;  ///< (count), written
    uint32_t seed[2];    ///< low and high half
    uint32_t stream[2];  ///< low and high half
    uint32_t count;
    uint32_t reserved;
};

/// y = uniform values in [low, high).
struct RandomUniform {
    uint64_t y;  ///< (count), written
    uint32_t seed[2];    ///< low and high half
    uint32_t stream[2];  ///< low and high half
    float low;
    float high;
    uint32_t count;
    uint32_t reserved;
};
