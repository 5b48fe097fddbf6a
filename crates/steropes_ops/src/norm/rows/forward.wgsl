// One row for each ROW_THREADS invocations; a row stays in registers (PER_THREAD packs in each invocation), so it is read
// once. Mean first, then the mean square around it.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed, sum_of; WIDTH (packs in a row), PER_THREAD, FULL (all invocations have
// as many), COUNT (elements in a row), CENTERED (whether the mean is taken off); ROW_THREADS, ROWS, row_sum; row_at, keep_sum,
// scaled; y.

struct Params { rows: u32, shift: u32, eps: f32 }
var<immediate> params: Params;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let inside = row < params.rows;
    // Rows behind the end compute along with the last row, because all invocations meet in row_sum.
    let first = params.shift + min(row, params.rows - 1u) * WIDTH;
    var values: array<Quads, PER_THREAD>;
    var sum = Quad();
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (FULL || c < WIDTH) {
            values[i] = row_at(first + c);
            if (inside) {
                keep_sum(first + c, values[i]);
            }
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
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (inside && (FULL || c < WIDTH)) {
            for (var q = 0u; q < QUADS; q++) {
                values[i][q] = scaled(values[i][q] * factor, c * QUADS + q);
            }
            y[first + c] = packed(values[i]);
        }
    }
}
