// One row for each ROW_THREADS invocations; a row stays in registers (PER_THREAD packs in each invocation), so it is read
// once.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed, sum_of, largest_of; WIDTH (packs in a row), PER_THREAD, FULL (all
// invocations have as many); ROW_THREADS, ROWS, row_sum, row_max.

struct Params { rows: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

// Below every value.
const LOWEST: f32 = -3.4e38;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let inside = row < params.rows;
    // Rows behind the end compute along with the last row, because all invocations meet in row_max and row_sum.
    let first = params.shift + min(row, params.rows - 1u) * WIDTH;
    var values: array<Quads, PER_THREAD>;
    var largest = Quad(LOWEST);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (FULL || c < WIDTH) {
            values[i] = unpacked(x[first + c]);
            for (var q = 0u; q < QUADS; q++) {
                largest = max(largest, values[i][q]);
            }
        }
    }
    let top = Quad(row_max(largest_of(largest), thread));
    var sum = Quad();
    for (var i = 0u; i < PER_THREAD; i++) {
        if (FULL || lane + i * ROW_THREADS < WIDTH) {
            for (var q = 0u; q < QUADS; q++) {
                values[i][q] = exp(values[i][q] - top);
                sum += values[i][q];
            }
        }
    }
    let factor = 1.0 / row_sum(sum_of(sum), thread);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (inside && (FULL || c < WIDTH)) {
            for (var q = 0u; q < QUADS; q++) {
                values[i][q] *= factor;
            }
            y[first + c] = packed(values[i]);
        }
    }
}
