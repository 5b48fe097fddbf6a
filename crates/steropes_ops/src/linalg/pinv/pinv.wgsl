// V diag(1 / s) u^T over the singular values above the cut: an invocation for each entry.
//
// Header: M, N, K.

struct Params { count: u32, u: u32, s: u32, vh: u32, inverse: u32, rtol: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> u: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> vh: array<f32>;
@group(0) @binding(3) var<storage, read_write> inverse: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (group.x + group.y * 32768u) * 64u + thread;
    if (index >= params.count * (N * M)) { return; }
    let matrix = index / (N * M);
    let row = index / M % N;
    let values = params.s + matrix * K;
    let left = params.u + (matrix * M + index % M) * K;
    let cut = params.rtol * s[values];
    var sum = 0.0;
    for (var k = 0u; k < K; k++) {
        // Those at or below the cut contribute nothing; NaN comes through by its product.
        let value = s[values + k];
        let x = vh[params.vh + (matrix * K + k) * N + row] * u[left + k];
        sum += select(x / select(value, 1.0, value <= cut), 0.0, value <= cut);
    }
    inverse[params.inverse + index] = sum;
}
