// What channel_tile.cuh and the ops that launch its blocks agree on.
#pragma once

/// The most threads of a block: the chunks of 16 bytes across a tile's channels, times as many positions as there is room for.
#define CHANNEL_TILE_THREADS 256
