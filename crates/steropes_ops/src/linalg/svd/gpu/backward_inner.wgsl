// p = u^T grad_u, q = vh grad_vh^T, and what lies between the vectors in the gradient: an invocation for each entry.
//
// Header: ROWS, COLUMNS, K.

struct Params { count: u32, u: u32, s: u32, vh: u32, grad_u: u32, grad_s: u32, grad_vh: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> u: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> vh: array<f32>;
@group(0) @binding(3) var<storage, read> grad_u: array<f32>;
@group(0) @binding(4) var<storage, read> grad_s: array<f32>;
@group(0) @binding(5) var<storage, read> grad_vh: array<f32>;
@group(0) @binding(6) var<storage, read_write> p: array<f32>;
@group(0) @binding(7) var<storage, read_write> q: array<f32>;
@group(0) @binding(8) var<storage, read_write> middle: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (group.x + group.y * 32768u) * 64u + thread;
    if (index >= params.count * (K * K)) { return; }
    let matrix = index / (K * K);
    let i = index / K % K;
    let j = index % K;
    // Entries ij and ji of both products.
    var inner = vec4<f32>();
    let left = matrix * (ROWS * K);
    for (var r = 0u; r < ROWS; r++) {
        let row = left + r * K;
        inner.x = fma(u[params.u + row + i], grad_u[params.grad_u + row + j], inner.x);
        inner.y = fma(u[params.u + row + j], grad_u[params.grad_u + row + i], inner.y);
    }
    let right = matrix * (K * COLUMNS);
    for (var c = 0u; c < COLUMNS; c++) {
        let at = vec2<u32>(right + i * COLUMNS + c, right + j * COLUMNS + c);
        inner.z = fma(vh[params.vh + at.x], grad_vh[params.grad_vh + at.y], inner.z);
        inner.w = fma(vh[params.vh + at.y], grad_vh[params.grad_vh + at.x], inner.w);
    }
    p[index] = inner.x;
    q[index] = inner.z;
    let s_i = s[params.s + matrix * K + i];
    let s_j = s[params.s + matrix * K + j];
    if (i == j) {
        middle[index] = grad_s[params.grad_s + matrix * K + i];
    } else {
        let turns = (inner.x - inner.y) * s_j + (inner.z - inner.w) * s_i;
        middle[index] = turns / ((s_j - s_i) * (s_j + s_i));
    }
}
