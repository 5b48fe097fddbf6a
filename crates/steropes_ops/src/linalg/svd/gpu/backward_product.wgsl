// grad_a = left vh + u right: an invocation for each entry.
//
// Header: ROWS, COLUMNS, K.

struct Params { count: u32, u: u32, vh: u32, grad_a: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> u: array<f32>;
@group(0) @binding(1) var<storage, read> vh: array<f32>;
@group(0) @binding(2) var<storage, read> left: array<f32>;
@group(0) @binding(3) var<storage, read> right: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad_a: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (group.x + group.y * 32768u) * 64u + thread;
    if (index >= params.count * (ROWS * COLUMNS)) { return; }
    let matrix = index / (ROWS * COLUMNS);
    let row = index / COLUMNS * K;
    let first = matrix * (K * COLUMNS) + index % COLUMNS;
    var sum = 0.0;
    for (var k = 0u; k < K; k++) {
        sum = fma(left[row + k], vh[params.vh + first + k * COLUMNS], sum);
        sum = fma(u[params.u + row + k], right[first + k * COLUMNS], sum);
    }
    grad_a[params.grad_a + index] = sum;
}
