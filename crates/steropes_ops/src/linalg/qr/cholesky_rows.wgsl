// A pass over the rows of a tall matrix: ROWS of them at a time in workgroup memory, each of which an invocation makes the solution of a
// triangular system; then the products of all pairs of columns are added up, by teams of eight by eight invocations with columns eight
// apart, which take rows in turn.
//
// Header: N (columns), ROWS, STRIDE (of a row in workgroup memory), THREADS, TEAMS, array partial; load_triangle, solve, put_solved,
// SOLVES; load_rows; Sums, add, put.

struct Params { m: u32, groups: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<f32>;

var<workgroup> rows: array<f32, ROWS * STRIDE>;

fn value_at(first: u32, count: u32, e: u32) -> f32 {
    let x = source[first * N + min(e, count * N - 1u)];
    return select(0.0, x, e < count * N);
}

fn put_row(e: u32, x: f32) {
    if (e < ROWS * N) {
        rows[e / N * STRIDE + e % N] = x;
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group = id.x + id.y * 32768u;
    if (group >= params.groups) {
        return;
    }
    // Columns behind the last stay zeros.
    for (var e = thread; e < ROWS * STRIDE; e += THREADS) {
        rows[e] = 0.0;
    }
    load_triangle(thread);
    var sums: Sums;
    for (var first = group * ROWS; first < params.m; first += params.groups * ROWS) {
        let count = min(ROWS, params.m - first);
        workgroupBarrier();
        load_rows(first, count, thread);
        workgroupBarrier();
        if (SOLVES) {
            if (thread < ROWS) {
                solve(thread);
            }
            workgroupBarrier();
            for (var e = thread; e < count * N; e += THREADS) {
                put_solved(first * N + e, rows[e / N * STRIDE + e % N]);
            }
        }
        add(&sums, thread);
    }
    put(&sums, group, thread);
}
