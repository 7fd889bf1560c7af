// Images as they come out of files.
#pragma once
#include <stdint.h>

/// y = byte / 127.5 − 1: 0 to 255 become −1 to 1.
struct Image {
    uint64_t bytes;  ///< (count) u8 in u32 words, the lowest first, read
    uint64_t y;      ///< (count), written
    uint32_t count;
    uint32_t reserved;
};
