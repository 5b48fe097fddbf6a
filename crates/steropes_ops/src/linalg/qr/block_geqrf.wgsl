// Header: as the functions above.

@group(0) @binding(1) var<storage, read_write> reduced: array<f32>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let g = group.x + group.y * 32768u;
    if (g >= params.groups) {
        return;
    }
    let rows = rows_of(g);
    load_block(rows, thread);
    factor(thread);
    workgroupBarrier();
    for (var e = thread; e < ROWS * COLUMNS; e += THREADS) {
        reduced[rows.x * COLUMNS + e] = a[e / COLUMNS * WIDTH + e % COLUMNS];
    }
    for (var j = thread; j < STEPS; j += THREADS) {
        factors[g * STEPS + j] = tau[j];
    }
}
