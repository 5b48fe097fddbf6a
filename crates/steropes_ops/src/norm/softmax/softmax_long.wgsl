// One row for each ROW_THREADS invocations, read twice: first every invocation keeps the largest value so far and the sum of
// exponentials relative to it, then the row is scaled.
//
// Header: as softmax.wgsl.

struct Params { rows: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

// Below every value, and far enough from the end that differences to values of ordinary size are finite.
const LOWEST: f32 = -3.0e38;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let inside = row < params.rows;
    // Rows behind the end compute along with the last row, because all invocations meet in row_max and row_sum.
    let first = params.shift + min(row, params.rows - 1u) * WIDTH;
    var largest = LOWEST;
    var sum = 0.0;
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (FULL || c < WIDTH) {
            let values = unpacked(x[first + c]);
            var top = largest;
            for (var q = 0u; q < QUADS; q++) {
                top = max(top, largest_of(values[q]));
            }
            var part = Quad();
            for (var q = 0u; q < QUADS; q++) {
                part += exp(values[q] - Quad(top));
            }
            sum = sum * exp(largest - top) + sum_of(part);
            largest = top;
        }
    }
    let top = row_max(largest, thread);
    let factor = 1.0 / row_sum(sum * exp(largest - top), thread);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (inside && (FULL || c < WIDTH)) {
            var values = unpacked(x[first + c]);
            for (var q = 0u; q < QUADS; q++) {
                values[q] = exp(values[q] - Quad(top)) * factor;
            }
            y[first + c] = packed(values);
        }
    }
}
