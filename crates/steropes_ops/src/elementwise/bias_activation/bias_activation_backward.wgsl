// COLUMNS packs side by side of SLOTS rows for each workgroup, and then of those that lie `stride` rows further on. An invocation
// keeps to its column and adds up there what its rows give for the bias; at the end it writes that, as part of one row of partial
// sums for each slot.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; WIDTH (packs in a row), COLUMNS, SLOTS; slope.

struct Params { rows: u32, shift: u32, steps: u32, stride: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read> bias: array<Quad>;
@group(0) @binding(2) var<storage, read> grad: array<Pack>;
@group(0) @binding(3) var<storage, read_write> grad_x: array<Pack>;
@group(0) @binding(4) var<storage, read_write> sums: array<Quad>;

@compute @workgroup_size(COLUMNS * SLOTS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let blocks = (WIDTH + COLUMNS - 1u) / COLUMNS;
    let number = group.x + group.y * 32768u;
    let partial = number / blocks * SLOTS + thread / COLUMNS;
    let column = number % blocks * COLUMNS + thread % COLUMNS;
    if (column >= WIDTH || partial >= params.stride) {
        return;
    }
    var own: Quads;
    for (var step = 0u; step < params.steps; step++) {
        let row = partial + step * params.stride;
        if (row < params.rows) {
            let at = params.shift + row * WIDTH + column;
            let values = unpacked(x[at]);
            var grads = unpacked(grad[at]);
            for (var q = 0u; q < QUADS; q++) {
                grads[q] *= slope(values[q] + bias[column * QUADS + q]);
                own[q] += grads[q];
            }
            grad_x[at] = packed(grads);
        }
    }
    for (var q = 0u; q < QUADS; q++) {
        sums[(partial * WIDTH + column) * QUADS + q] = own[q];
    }
}
