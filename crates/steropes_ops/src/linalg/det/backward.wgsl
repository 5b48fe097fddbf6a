// One workgroup for each matrix: the determinant from every 64th pivot of each invocation, put together in workgroup memory; then
// a multiple of the identity.
//
// Header: OF_VALUE (the gradient is that of the determinant, else of its logarithm).

struct Params { count: u32, n: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> lu: array<f32>;
@group(0) @binding(1) var<storage, read> pivots: array<i32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> right: array<f32>;

const THREADS: u32 = 64u;
// The rounding of f32.
const EPSILON: f32 = 1.1920929e-7;
var<workgroup> values: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    let n = params.n;
    let first = matrix * n * n;
    var largest = 0.0;
    for (var i = thread; i < n; i += THREADS) {
        largest = max(largest, abs(lu[first + i * (n + 1u)]));
    }
    values[thread] = largest;
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (thread < step) {
            values[thread] = max(values[thread], values[thread + step]);
        }
    }
    workgroupBarrier();
    let least = EPSILON * select(values[0], 1.0, values[0] == 0.0);
    workgroupBarrier();
    var product = 1.0;
    for (var i = thread; i < n; i += THREADS) {
        var pivot = lu[first + i * (n + 1u)];
        if (OF_VALUE && pivot == 0.0) {
            pivot = least;
            lu[first + i * (n + 1u)] = pivot;
        }
        product *= select(pivot, -pivot, pivots[matrix * n + i] != i32(i) + 1);
    }
    values[thread] = product;
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (thread < step) {
            values[thread] *= values[thread + step];
        }
    }
    workgroupBarrier();
    var factor = grad[matrix];
    if (OF_VALUE) {
        factor *= values[0];
    }
    for (var e = thread; e < n * n; e += THREADS) {
        right[first + e] = select(0.0, factor, e / n == e % n);
    }
}
