// One workgroup for each matrix, or block on the diagonal of a larger one, which stays in workgroup memory. Column by column:
// the column is scaled, then taken off what is right of it by all invocations.
//
// Header: N (rows), IN_PLACE, positive, a_at.

struct Params { count: u32, first: u32, start: u32, row: u32, column: u32, step: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> l: array<f32>;
@group(0) @binding(1) var<storage, read_write> info: array<i32>;

const THREADS: u32 = 256u;
var<workgroup> m: array<f32, N * N>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    let start = params.start + matrix * params.step;
    for (var e = thread; e < N * N; e += THREADS) {
        let i = e / N;
        let j = e % N;
        if (j <= i) {
            m[e] = a_at(start + i * params.row + j * params.column);
        } else {
            m[e] = 0.0;
        }
    }
    var order = 0i;
    let down = thread / 16u;
    let over = thread % 16u;
    for (var k = 0u; k < N; k++) {
        workgroupBarrier();
        let pivot = m[k * N + k];
        if (order == 0 && !positive(pivot)) {
            order = i32(params.first + k) + 1;
        }
        let root = sqrt(pivot);
        workgroupBarrier();
        for (var i = k + thread; i < N; i += THREADS) {
            if (i == k) {
                m[i * N + k] = root;
            } else {
                m[i * N + k] /= root;
            }
        }
        workgroupBarrier();
        for (var i = k + 1u + down; i < N; i += 16u) {
            let factor = m[i * N + k];
            for (var j = k + 1u + over; j <= i; j += 16u) {
                m[i * N + j] -= factor * m[j * N + k];
            }
        }
    }
    workgroupBarrier();
    for (var e = thread; e < N * N; e += THREADS) {
        let i = e / N;
        let j = e % N;
        if (!IN_PLACE || j <= i) {
            l[start + i * params.row + j * params.column] = m[e];
        }
    }
    if (thread == 0u) {
        if (params.first == 0u || info[matrix] == 0) {
            info[matrix] = order;
        }
    }
}
