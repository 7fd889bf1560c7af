// What row_team.cuh and the ops that launch its blocks agree on.
#pragma once

/// The most threads of a block: those across one row.
#define ROW_TEAM_THREADS 512
/// Rows that a team takes at a time; twice as many where a chunk has four elements or one.
#define ROW_TEAM_ROWS 2
