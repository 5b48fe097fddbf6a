// PER_THREAD vectors of four elements for each invocation. Arrays may end within a vector: what stands behind is computed
// along and never read.
//
// Header: THREADS, PER_THREAD, first_pack; Stored (four elements of the gradient), gradient_at; largest_with (the largest second
// moment with one more, or that one itself); put_copy (the value in 16 bits, where there is one).

struct Params {
    count: u32,
    direction: f32,
    keep: f32,
    first: f32,
    second: f32,
    squared: f32,
    rate: f32,
    root: f32,
    eps: f32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gradient: array<Stored>;
@group(0) @binding(2) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> second: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = first_pack(group, thread);
    for (var k = 0u; k < PER_THREAD; k++) {
        let i = start + k * THREADS;
        if (i < params.count) {
            let g = params.direction * gradient_at(i);
            let m = first[i] + params.first * (g - first[i]);
            let v = params.second * second[i] + params.squared * g * g;
            first[i] = m;
            second[i] = v;
            let root = sqrt(largest_with(i, v)) / params.root + params.eps;
            let x = values[i] * params.keep - params.rate * (m / root);
            values[i] = x;
            put_copy(i, x);
        }
    }
}
