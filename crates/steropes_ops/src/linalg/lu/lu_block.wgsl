// One workgroup for each matrix, which stays in workgroup memory. Column by column: every invocation looks for the pivot, rows are
// exchanged, the column is scaled, then taken off what is right of it by all invocations.
//
// Header: M, N, STEPS.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> lu: array<f32>;
@group(0) @binding(2) var<storage, read_write> pivots: array<i32>;
@group(0) @binding(3) var<storage, read_write> info: array<i32>;

const THREADS: u32 = 256u;
var<workgroup> m: array<f32, M * N>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    let first = matrix * M * N;
    for (var e = thread; e < M * N; e += THREADS) {
        m[e] = a[first + e];
    }
    var zero = 0i;
    let down = thread / 16u;
    let over = thread % 16u;
    for (var k = 0u; k < STEPS; k++) {
        workgroupBarrier();
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
        if (largest == 0u && zero == 0) {
            zero = i32(k) + 1;
        }
        if (thread == 0u) {
            pivots[matrix * STEPS + k] = i32(chosen) + 1;
        }
        workgroupBarrier();
        if (chosen != k) {
            for (var j = thread; j < N; j += THREADS) {
                let value = m[k * N + j];
                m[k * N + j] = m[chosen * N + j];
                m[chosen * N + j] = value;
            }
        }
        workgroupBarrier();
        let divisor = select(m[k * N + k], 1.0, largest == 0u);
        for (var i = k + 1u + thread; i < M; i += THREADS) {
            m[i * N + k] /= divisor;
        }
        workgroupBarrier();
        for (var i = k + 1u + down; i < M; i += 16u) {
            let factor = m[i * N + k];
            for (var j = k + 1u + over; j < N; j += 16u) {
                m[i * N + j] -= factor * m[k * N + j];
            }
        }
    }
    workgroupBarrier();
    for (var e = thread; e < M * N; e += THREADS) {
        lu[first + e] = m[e];
    }
    if (thread == 0u) {
        info[matrix] = zero;
    }
}
