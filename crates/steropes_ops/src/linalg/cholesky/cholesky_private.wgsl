// One invocation for each matrix, which stays in its registers.
//
// Header: THREADS, element; N, ROW and COLUMN (where the triangle that is read is the lower one); positive.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> l: array<f32>;
@group(0) @binding(2) var<storage, read_write> info: array<i32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = element(group, thread);
    if (matrix >= params.count) {
        return;
    }
    let first = matrix * N * N;
    var m: array<f32, N * N>;
    for (var i = 0u; i < N; i++) {
        for (var j = 0u; j <= i; j++) {
            m[i * N + j] = a[first + i * ROW + j * COLUMN];
        }
    }
    var order = 0i;
    for (var j = 0u; j < N; j++) {
        var pivot = m[j * N + j];
        for (var k = 0u; k < j; k++) {
            pivot -= m[j * N + k] * m[j * N + k];
        }
        if (order == 0 && !positive(pivot)) {
            order = i32(j) + 1;
        }
        let root = sqrt(pivot);
        m[j * N + j] = root;
        for (var i = j + 1u; i < N; i++) {
            var sum = m[i * N + j];
            for (var k = 0u; k < j; k++) {
                sum -= m[i * N + k] * m[j * N + k];
            }
            m[i * N + j] = sum / root;
        }
    }
    for (var i = 0u; i < N; i++) {
        for (var j = 0u; j < N; j++) {
            var value = 0.0;
            if (j <= i) {
                value = m[i * N + j];
            }
            l[first + i * ROW + j * COLUMN] = value;
        }
    }
    info[matrix] = order;
}
