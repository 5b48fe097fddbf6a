// One unit of the result for each invocation, counted through the rows of all images.
//
// Header: Unit, THREADS.

// Rows of the result from `row` on, which read rows of `x` from `source` on; `height`, `x_height` are those of an image,
// `width`, `x_width` units of a row.
struct Params {
    count: u32, row: u32, source: u32, height: u32, x_height: u32, x_width: u32, width: u32, x_shift: u32, y_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Unit>;
@group(0) @binding(1) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let row = params.row + i / params.width;
    let source = row / params.height * params.x_height + row % params.height - params.source;
    y[params.y_shift + i] = x[params.x_shift + source * params.x_width + i % params.width];
}
