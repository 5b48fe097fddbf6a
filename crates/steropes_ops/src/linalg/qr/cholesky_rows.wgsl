// A pass over the rows of a tall matrix: ROWS of them at a time in workgroup memory, one for each invocation, which makes it the
// solution of a triangular system; then the products of all pairs of columns are added up, eight by eight invocations with columns eight
// apart.
//
// Header: N (columns), ROWS, STRIDE (of a row in workgroup memory), array partial; load_triangle, solve, Sums, add, put.

struct Params { m: u32, groups: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<f32>;

var<workgroup> rows: array<f32, ROWS * STRIDE>;

@compute @workgroup_size(ROWS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group = id.x + id.y * 32768u;
    if (group >= params.groups) {
        return;
    }
    // Columns behind the last stay zeros.
    for (var e = thread; e < ROWS * STRIDE; e += ROWS) {
        rows[e] = 0.0;
    }
    load_triangle(thread);
    var sums: Sums;
    for (var first = group * ROWS; first < params.m; first += params.groups * ROWS) {
        let count = min(ROWS, params.m - first);
        workgroupBarrier();
        for (var e = thread; e < ROWS * N; e += ROWS) {
            var x = 0.0;
            if (e < count * N) {
                x = source[first * N + e];
            }
            rows[e / N * STRIDE + e % N] = x;
        }
        workgroupBarrier();
        solve(first, count, thread);
        add(&sums, thread);
    }
    put(&sums, group, thread);
}
