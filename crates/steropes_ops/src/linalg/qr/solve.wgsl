// R x = y, or R^T x = y, in place of y: one workgroup for each vector. A value that is found is taken out of those that wait for
// it, each of which belongs to one invocation.
//
// Header: THREADS, TRANSPOSED (R^T), STRICT (a zero on the diagonal of R makes all of x NaN).

struct Params {
    n: u32, groups: u32, vectors: u32,
    r_row: u32, r_matrix: u32,
    x_step: u32, x_vector: u32, x_matrix: u32, quiet_nan: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> r: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

// By turns, so that one barrier is enough.
var<workgroup> found: array<f32, 2>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let g = group.x + group.y * 32768u;
    if (g >= params.groups) {
        return;
    }
    let at = g / params.vectors * params.r_matrix;
    let to = g / params.vectors * params.x_matrix + g % params.vectors * params.x_vector;
    for (var step = 0u; step < params.n; step++) {
        let i = select(params.n - 1u - step, step, TRANSPOSED);
        if (i % THREADS == thread) {
            let value = x[to + i * params.x_step] / r[at + i * (params.r_row + 1u)];
            x[to + i * params.x_step] = value;
            found[step % 2u] = value;
        }
        workgroupBarrier();
        let value = found[step % 2u];
        if (TRANSPOSED) {
            for (var l = (i + 1u) / THREADS * THREADS + thread; l < params.n; l += THREADS) {
                if (l > i) {
                    x[to + l * params.x_step] -= r[at + i * params.r_row + l] * value;
                }
            }
        } else {
            for (var l = thread; l < i; l += THREADS) {
                x[to + l * params.x_step] -= r[at + l * params.r_row + i] * value;
            }
        }
    }
    if (STRICT) {
        var singular = false;
        for (var i = 0u; i < params.n; i++) {
            singular = singular || r[at + i * (params.r_row + 1u)] == 0.0;
        }
        for (var i = thread; i < params.n; i += THREADS) {
            if (singular) {
                x[to + i * params.x_step] = bitcast<f32>(params.quiet_nan);
            }
        }
    }
}
