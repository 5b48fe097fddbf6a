// One row for each ROW_THREADS invocations, read twice: first for the mean and the mean square around it, then for the result.
//
// Header: as forward.wgsl, and row_statistics.

struct Params { rows: u32, shift: u32, eps: f32 }
var<immediate> params: Params;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let inside = row < params.rows;
    // Rows behind the end compute along with the last row, because all invocations meet in row_sum.
    let first = params.shift + min(row, params.rows - 1u) * WIDTH;
    let scale = row_statistics(first, thread, params.eps);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (inside && (FULL || c < WIDTH)) {
            var values = row_at(first + c);
            keep_sum(first + c, values);
            for (var q = 0u; q < QUADS; q++) {
                values[q] = scaled((values[q] - Quad(scale.x)) * scale.y, c * QUADS + q);
            }
            y[first + c] = packed(values);
        }
    }
}
