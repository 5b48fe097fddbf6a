// A pass over the rows of a tall matrix: ROWS of them at a time in workgroup memory, one for each invocation, which makes it the
// solution of a triangular system; then the products of all pairs of columns are added up, eight by eight invocations with columns eight
// apart.
//
// Header: N (columns), ROWS, STRIDE (of a row in workgroup memory), array partial; load_triangle, solve, put_solved, SOLVES; Sums, add, put.

struct Params { m: u32, groups: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<f32>;

var<workgroup> rows: array<f32, ROWS * STRIDE>;

// Values that an invocation loads before it stores any.
const BATCH: u32 = 10u;

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
        for (var start = 0u; start < N; start += BATCH) {
            var batch: array<f32, BATCH>;
            for (var i = 0u; i < BATCH; i++) {
                let e = thread + (start + i) * ROWS;
                if (e < count * N) {
                    batch[i] = source[first * N + e];
                }
            }
            for (var i = 0u; i < BATCH; i++) {
                let e = thread + (start + i) * ROWS;
                if (e < ROWS * N) {
                    rows[e / N * STRIDE + e % N] = batch[i];
                }
            }
        }
        workgroupBarrier();
        if (SOLVES) {
            solve(thread);
            workgroupBarrier();
            for (var e = thread; e < count * N; e += ROWS) {
                put_solved(first * N + e, rows[e / N * STRIDE + e % N]);
            }
        }
        add(&sums, thread);
    }
    put(&sums, group, thread);
}
