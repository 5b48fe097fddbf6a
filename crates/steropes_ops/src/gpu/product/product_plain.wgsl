// One tile of TILE_ROWS x TILE_COLUMNS results for each workgroup, THREAD_ROWS x THREAD_COLUMNS of them in the registers of each
// invocation, as groups of 4 x 4 that lie apart so that neighbours read neighbouring vectors. Left rows and weights come TILE_DEPTH
// columns at a time: each invocation loads 4 x 4 blocks while the tile before is multiplied, turns them, and puts them down as
// columns. Every sum runs over the depth in order, whatever the tile.
//
// Header: params, row source (Row, Step, row_of, step_of, row_values), weight_row, tile_of, finish; TILE_*, THREADS, COLUMN_THREADS,
// ROW_THREADS (along each side of the tile), WARP_COLUMNS; Next, Origins, origins, fetch, stash, Sums, multiply, finish_all.

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = tile_of(group);
    if (!tile.exists) {
        return;
    }
    // 32 invocations in a row form a rectangle.
    let lane = thread % 32u;
    let warps_across = COLUMN_THREADS / WARP_COLUMNS;
    let column = (thread / 32u) % warps_across * WARP_COLUMNS + lane % WARP_COLUMNS;
    let row = (thread / 32u) / warps_across * (32u / WARP_COLUMNS) + lane / WARP_COLUMNS;
    var sums: Sums;
    var next: Next;
    var origin = origins(tile, thread);
    fetch(&next, &origin, thread, 0u);
    for (var k = 0u; k < params.padded; k += TILE_DEPTH) {
        workgroupBarrier();
        stash(&next, thread);
        workgroupBarrier();
        if (k + TILE_DEPTH < params.padded) {
            fetch(&next, &origin, thread, k + TILE_DEPTH);
        }
        for (var j = 0u; j < TILE_DEPTH; j++) {
            multiply(&sums, j, row, column);
        }
    }
    finish_all(&sums, tile, row, column);
}
