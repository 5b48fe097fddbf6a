// One entry of a scaled [[a^T, grad], [0, a^T]] for each invocation.
//
// Header: N (of these matrices, twice that of `a`), THREADS; halvings.

struct Params {
    count: u32,
    norms_shift: u32,
    halvings_shift: u32,
    to_shift: u32,
    a_shift: u32,
    grad_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> norms: array<u32>;
@group(0) @binding(1) var<storage, read_write> halvings: array<u32>;
@group(0) @binding(2) var<storage, read_write> to: array<f32>;
@group(0) @binding(3) var<storage, read> a: array<f32>;
@group(0) @binding(4) var<storage, read> grad: array<f32>;

const OWN: u32 = N / 2u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * (N * N)) {
        return;
    }
    let matrix = t / (N * N);
    let row = t / N % N;
    let column = t % N;
    let i = row % OWN;
    let j = column % OWN;
    let first = matrix * (OWN * OWN);
    var x = 0.0;
    if (row < OWN && column >= OWN) {
        x = grad[params.grad_shift + first + i * OWN + j];
    } else if (row / OWN == column / OWN) {
        x = a[params.a_shift + first + j * OWN + i];
    }
    let count = halvings_of(norms[params.norms_shift + matrix]);
    to[params.to_shift + t] = halved(x, count);
    if (t % (N * N) == 0u) {
        halvings[params.halvings_shift + matrix] = count;
    }
}
