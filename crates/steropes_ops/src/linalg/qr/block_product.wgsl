// Header: as the functions above.

@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> q: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let g = group.x + group.y * 32768u;
    if (g >= params.groups) {
        return;
    }
    let rows = rows_of(g);
    for (var j = thread; j < STEPS; j += THREADS) {
        tau[j] = factors[g * STEPS + j];
    }
    load_block(rows, thread);
    form(thread);
    for (var e = thread; e < ROWS * Q_COLUMNS; e += THREADS) {
        q[rows.x * Q_COLUMNS + e] = a[e / Q_COLUMNS * WIDTH + e % Q_COLUMNS];
    }
}
