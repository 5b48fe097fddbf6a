// ROWS rows at once for each workgroup, and then those that lie `stride` rows further on; a row and its gradient stay in
// registers (PER_THREAD packs in each invocation), so both are read once. What the rows of an invocation add to the gradients
// of weight and bias stays in registers too and is written at the end, as one row of partial sums.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed, sum_of; WIDTH (packs in a row), PER_THREAD, FULL (all invocations have
// as many), COUNT (elements in a row), CENTERED (whether the mean was taken off), AFFINE (whether there is a weight);
// ROW_THREADS, ROWS, row_sum; row_at, grad_at, with_residual, weighted, keep_weight, keep_bias; y.

struct Params { rows: u32, shift: u32, eps: f32, steps: u32, stride: u32 }
var<immediate> params: Params;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let partial = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let counts = partial < params.stride;
    var weight_grad: array<Quads, PER_THREAD>;
    var bias_grad: array<Quads, PER_THREAD>;
    for (var step = 0u; step < params.steps; step++) {
        let row = partial + step * params.stride;
        let inside = counts && row < params.rows;
        // Rows behind the end compute along with the last row, because all invocations meet in row_sum.
        let first = params.shift + min(row, params.rows - 1u) * WIDTH;
        var values: array<Quads, PER_THREAD>;
        var grads: array<Quads, PER_THREAD>;
        var sum = Quad();
        for (var i = 0u; i < PER_THREAD; i++) {
            let c = lane + i * ROW_THREADS;
            if (FULL || c < WIDTH) {
                values[i] = row_at(first + c);
                grads[i] = grad_at(first + c);
                for (var q = 0u; q < QUADS; q++) {
                    sum += values[i][q];
                }
            }
        }
        var mean = 0.0;
        if (CENTERED) {
            mean = row_sum(sum_of(sum), thread) / f32(COUNT);
        }
        var squares = Quad();
        for (var i = 0u; i < PER_THREAD; i++) {
            if (FULL || lane + i * ROW_THREADS < WIDTH) {
                for (var q = 0u; q < QUADS; q++) {
                    let centered = values[i][q] - Quad(mean);
                    squares += centered * centered;
                    values[i][q] = centered;
                }
            }
        }
        let square = row_sum(sum_of(squares), thread) / f32(COUNT);
        let factor = 1.0 / sqrt(square + params.eps);
        var along = Quad();
        var total = Quad();
        for (var i = 0u; i < PER_THREAD; i++) {
            let c = lane + i * ROW_THREADS;
            if (FULL || c < WIDTH) {
                for (var q = 0u; q < QUADS; q++) {
                    let normed = values[i][q] * factor;
                    let grad = grads[i][q];
                    values[i][q] = normed;
                    if (AFFINE && inside) {
                        weight_grad[i][q] += grad * normed;
                        bias_grad[i][q] += grad;
                    }
                    grads[i][q] = weighted(grad, c * QUADS + q);
                    along += grads[i][q] * normed;
                    total += grads[i][q];
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
            if (inside && (FULL || c < WIDTH)) {
                for (var q = 0u; q < QUADS; q++) {
                    grads[i][q] = (grads[i][q] - Quad(level) - values[i][q] * slope) * factor;
                }
                y[first + c] = packed(with_residual(grads[i], first + c));
            }
        }
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (AFFINE && counts && (FULL || c < WIDTH)) {
            for (var q = 0u; q < QUADS; q++) {
                let at = (partial * WIDTH + c) * QUADS + q;
                keep_weight(at, weight_grad[i][q], true);
                keep_bias(at, bias_grad[i][q], true);
            }
        }
    }
}
