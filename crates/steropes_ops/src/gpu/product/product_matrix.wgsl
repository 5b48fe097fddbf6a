// One tile of TILE_ROWS x TILE_COLUMNS results for each workgroup, SUBGROUP_ROWS x SUBGROUP_COLUMNS of them in the matrices of each
// subgroup. Left rows and weights come TILE_DEPTH columns at a time: the next tile is loaded into registers while the one in
// workgroup memory is multiplied. Sums leave through a strip of workgroup memory, one strip for each subgroup, because nobody
// can name the elements of a matrix.
//
// Header: params, row source (Row, Step, row_of, step_of, row_values), weight_row, tile_of, finish; TILE_*, SUBGROUP_*, THREADS;
// Next, Origins, origins, fetch, stash, Sums, multiply, finish_all.

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = tile_of(group);
    if (!tile.exists) {
        return;
    }
    let subgroup = thread / 32u;
    let across = TILE_COLUMNS / SUBGROUP_COLUMNS;
    let row = subgroup / across * SUBGROUP_ROWS;
    let column = subgroup % across * SUBGROUP_COLUMNS;
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
        multiply(&sums, row, column);
    }
    finish_all(&sums, tile.m + row, tile.n + column, subgroup, thread % 32u);
}
