// One invocation for each matrix, which stays in its registers.
//
// Header: THREADS, element; M, N, STEPS.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> lu: array<f32>;
@group(0) @binding(2) var<storage, read_write> pivots: array<i32>;
@group(0) @binding(3) var<storage, read_write> info: array<i32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = element(group, thread);
    if (matrix >= params.count) {
        return;
    }
    let first = matrix * M * N;
    var m: array<f32, M * N>;
    for (var e = 0u; e < M * N; e++) {
        m[e] = a[first + e];
    }
    var zero = 0i;
    for (var k = 0u; k < STEPS; k++) {
        // Magnitudes are compared as integers, where what is not a number is the largest.
        var largest = bitcast<u32>(m[k * N + k]) & 0x7fffffffu;
        var chosen = k;
        for (var i = k + 1u; i < M; i++) {
            let found = bitcast<u32>(m[i * N + k]) & 0x7fffffffu;
            if (found > largest) {
                largest = found;
                chosen = i;
            }
        }
        pivots[matrix * STEPS + k] = i32(chosen) + 1;
        // Which row it is is not known when this is compiled, but all indices are.
        for (var i = k + 1u; i < M; i++) {
            if (i == chosen) {
                for (var j = 0u; j < N; j++) {
                    let value = m[k * N + j];
                    m[k * N + j] = m[i * N + j];
                    m[i * N + j] = value;
                }
            }
        }
        let pivot = m[k * N + k];
        var divisor = pivot;
        if (largest == 0u) {
            divisor = 1.0;
            if (zero == 0) {
                zero = i32(k) + 1;
            }
        }
        for (var i = k + 1u; i < M; i++) {
            let factor = m[i * N + k] / divisor;
            m[i * N + k] = factor;
            for (var j = k + 1u; j < N; j++) {
                m[i * N + j] -= factor * m[k * N + j];
            }
        }
    }
    for (var e = 0u; e < M * N; e++) {
        lu[first + e] = m[e];
    }
    info[matrix] = zero;
}
