// As backward.wgsl for rows beyond registers: a row is read three times and its gradient twice, and the partial sums for weight
// and bias are added to in memory, each by the one invocation that it belongs to.
//
// Header: as backward.wgsl, and row_statistics.

struct Params { rows: u32, shift: u32, eps: f32, steps: u32, stride: u32 }
var<immediate> params: Params;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let partial = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let counts = partial < params.stride;
    for (var step = 0u; step < params.steps; step++) {
        let row = partial + step * params.stride;
        let inside = counts && row < params.rows;
        // Rows behind the end compute along with the last row, because all invocations meet in row_sum.
        let first = params.shift + min(row, params.rows - 1u) * WIDTH;
        let scale = row_statistics(first, thread, params.eps);
        var along = Quad();
        var total = Quad();
        for (var i = 0u; i < PER_THREAD; i++) {
            let c = lane + i * ROW_THREADS;
            if (FULL || c < WIDTH) {
                let values = row_at(first + c);
                let grads = grad_at(first + c);
                for (var q = 0u; q < QUADS; q++) {
                    let normed = (values[q] - Quad(scale.x)) * scale.y;
                    let share = weighted(grads[q], c * QUADS + q);
                    along += share * normed;
                    total += share;
                }
            }
        }
        let slope = row_sum(sum_of(along), thread) / f32(COUNT);
        var level = 0.0;
        if (CENTERED) {
            level = row_sum(sum_of(total), thread) / f32(COUNT);
        }
        for (var i = 0u; i < PER_THREAD; i++) {
            let c = lane + i * ROW_THREADS;
            if (FULL || c < WIDTH) {
                let values = row_at(first + c);
                var grads = grad_at(first + c);
                for (var q = 0u; q < QUADS; q++) {
                    let normed = (values[q] - Quad(scale.x)) * scale.y;
                    let at = (partial * WIDTH + c) * QUADS + q;
                    // A partial sum without rows is 0.
                    let own = select(Quad(), grads[q], inside);
                    if (counts) {
                        keep_weight(at, select(Quad(), own * normed, inside), step == 0u);
                        keep_bias(at, own, step == 0u);
                    }
                    grads[q] = (weighted(grads[q], c * QUADS + q) - Quad(level) - normed * slope) * scale.y;
                }
                if (inside) {
                    y[first + c] = packed(with_residual(grads, first + c));
                }
            }
        }
    }
}
