// One unit of the result for each invocation, counted through all rows.
//
// Header: Unit, THREADS.

struct Params { count: u32, x_width: u32, y_width: u32, x_shift: u32, y_shift: u32, out_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Unit>;
@group(0) @binding(1) var<storage, read> y: array<Unit>;
@group(0) @binding(2) var<storage, read_write> out: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let width = params.x_width + params.y_width;
    let row = i / width;
    let c = i - row * width;
    if (c < params.x_width) {
        out[params.out_shift + i] = x[params.x_shift + row * params.x_width + c];
    } else {
        out[params.out_shift + i] = y[params.y_shift + row * params.y_width + (c - params.x_width)];
    }
}
