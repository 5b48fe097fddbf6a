// Header, beside that of the functions above: R_ROWS, array r, store_q, store_kept.

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
    for (var e = thread; e < R_ROWS * COLUMNS; e += THREADS) {
        let i = e / COLUMNS;
        let c = e % COLUMNS;
        r[g * (R_ROWS * COLUMNS) + e] = select(0.0, a[i * WIDTH + c], i <= c);
    }
    if (thread == 0u) {
        // Leading columns of the whole matrix that may have been zero below its diagonal.
        var kept = 0u;
        var leading = true;
        for (var j = 0u; j < STEPS; j++) {
            leading = leading && tau[j] == 0.0 && (g % params.blocks == 0u || a[j * WIDTH + j] == 0.0);
            kept += select(0u, 1u, leading);
        }
        store_kept(g, kept);
    }
    workgroupBarrier();
    if (Q_COLUMNS > 0u) {
        form(thread);
        for (var e = thread; e < rows.y * Q_COLUMNS; e += THREADS) {
            store_q(rows.x * Q_COLUMNS + e, a[e / Q_WIDTH * WIDTH + e % Q_WIDTH]);
        }
    }
}
