// One entry for each invocation of what stands between the vectors in the gradient: the gradient of the values on the diagonal,
// and beside it what comes from that of the vectors.
//
// Header: N, THREADS; diagonal, between.

struct Params { count: u32, values_shift: u32, to_shift: u32, grad_shift: u32, basis_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> to: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * (N * N)) {
        return;
    }
    let matrix = t / (N * N);
    let i = t / N % N;
    let j = t % N;
    let row = params.values_shift + matrix * N;
    if (i == j) {
        to[params.to_shift + t] = diagonal(matrix * N + i);
    } else {
        to[params.to_shift + t] = between(matrix * (N * N), i, j, values[row + j] - values[row + i]);
    }
}
