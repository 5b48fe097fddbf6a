// Sums of the columns over FACTOR rows of a matrix for each row of the result. A workgroup takes COLUMNS columns, each shared by
// SLOTS invocations, which add every SLOTS-th row in order; their sums are then added in order.
//
// Header: FACTOR, COLUMNS, SLOTS.

struct Params { rows: u32, width: u32, more: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, COLUMNS * SLOTS>;

@compute @workgroup_size(COLUMNS * SLOTS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let blocks = (params.width + COLUMNS - 1u) / COLUMNS;
    let number = group.x + group.y * 32768u;
    let part = number / blocks;
    let column = number % blocks * COLUMNS + thread % COLUMNS;
    let slot = thread / COLUMNS;
    let end = min(part * FACTOR + FACTOR, params.rows);
    var sum = 0.0;
    if (column < params.width) {
        for (var row = part * FACTOR + slot; row < end; row += SLOTS) {
            sum += x[row * params.width + column];
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    if (slot == 0u && column < params.width && part * FACTOR < params.rows) {
        var total = partial[thread];
        for (var i = 1u; i < SLOTS; i++) {
            total += partial[thread + i * COLUMNS];
        }
        let at = part * params.width + column;
        if (params.more != 0u) {
            total += y[at];
        }
        y[at] = total;
    }
}
