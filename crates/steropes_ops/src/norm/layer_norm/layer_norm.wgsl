// One row for each ROW_THREADS invocations; a row stays in registers (PER_THREAD values of Acc in each invocation), so it is
// read once. Mean first, then the variance around it.
//
// Header: Value (one element or four, as stored), Acc (the same in f32), total(Acc) -> f32, WIDTH (Values in a row),
// PER_THREAD, COUNT (elements in a row), ROW_THREADS, ROWS, row_sum.

struct Params { rows: u32, eps: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> weight: array<Acc>;
@group(0) @binding(2) var<storage, read> bias: array<Acc>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;

// x / COUNT, rounded correctly: a GPU's own division may be wrong in the last bits, which near-equal values would magnify.
fn over_count(x: f32) -> f32 {
    let reciprocal = 1.0 / f32(COUNT);
    let quotient = x * reciprocal;
    return fma(fma(-quotient, f32(COUNT), x), reciprocal, quotient);
}

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let inside = row < params.rows;
    // Rows behind the end compute along with the last row, because all invocations meet in row_sum.
    let first = min(row, params.rows - 1u) * WIDTH;
    var values: array<Acc, PER_THREAD>;
    var sum = Acc();
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (c < WIDTH) {
            values[i] = Acc(x[first + c]);
            sum += values[i];
        }
    }
    let mean = over_count(row_sum(total(sum), thread));
    var squares = Acc();
    for (var i = 0u; i < PER_THREAD; i++) {
        if (lane + i * ROW_THREADS < WIDTH) {
            values[i] -= Acc(mean);
            squares += values[i] * values[i];
        }
    }
    let variance = over_count(row_sum(total(squares), thread));
    let factor = 1.0 / sqrt(variance + params.eps);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (inside && c < WIDTH) {
            y[first + c] = Value(values[i] * factor * weight[c] + bias[c]);
        }
    }
}
