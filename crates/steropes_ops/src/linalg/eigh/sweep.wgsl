// One sweep of two-sided Jacobi over a matrix in workgroup memory by all invocations: M - 1 rounds, in each of which M / 2 rotations of
// separate pairs of rows and columns, chosen as rounds of a tournament, are found and then applied to all entries.
//
// Header: M (even), HALF = M / 2 <= THREADS, THREADS, VECTORS, VECTOR_ENTRIES (M * M or 1); rotation.

var<workgroup> a: array<f32, M * M>;
// The vectors, one in each row.
var<workgroup> v: array<f32, VECTOR_ENTRIES>;
var<workgroup> turns: array<vec2<f32>, HALF>;
// The `mark` of the last sweep that turned anything.
var<workgroup> last_turn: atomic<u32>;

// The two rows of a pair in a round.
fn pair_of(round: u32, i: u32) -> vec2<u32> {
    let first = (round + i) % (M - 1u);
    let second = (round + (M - 1u) - i) % (M - 1u);
    return vec2<u32>(first, select(second, M - 1u, i == 0u));
}

// Turns the 2 x 2 entries where two pairs meet, on both sides of the diagonal.
fn turn_block(round: u32, i: u32, j: u32) {
    let left = turns[i];
    let right = turns[j];
    if (left.x == 0.0 && right.x == 0.0) {
        return;
    }
    let rows = pair_of(round, i);
    let columns = pair_of(round, j);
    let one = turned(a[rows.x * M + columns.x], a[rows.y * M + columns.x], left);
    let two = turned(a[rows.x * M + columns.y], a[rows.y * M + columns.y], left);
    let above = turned(one.x, two.x, right);
    let below = turned(one.y, two.y, right);
    a[rows.x * M + columns.x] = above.x;
    a[rows.x * M + columns.y] = above.y;
    a[rows.y * M + columns.x] = below.x;
    a[rows.y * M + columns.y] = below.y;
    a[columns.x * M + rows.x] = above.x;
    a[columns.y * M + rows.x] = above.y;
    a[columns.x * M + rows.y] = below.x;
    a[columns.y * M + rows.y] = below.y;
}

// Without `work` only the barriers happen.
fn sweep(thread: u32, work: bool, mark: u32, tolerance: f32) {
    for (var round = 0u; round < M - 1u; round++) {
        if (work && thread < HALF) {
            let pair = pair_of(round, thread);
            let diagonal = pair * (M + 1u);
            let off = pair.x * M + pair.y;
            let turn = rotation(a[diagonal.x], a[diagonal.y], a[off], tolerance);
            turns[thread] = turn.xy;
            if (turn.w > 0.0) {
                a[diagonal.x] -= turn.z;
                a[diagonal.y] += turn.z;
                a[off] = 0.0;
                a[pair.y * M + pair.x] = 0.0;
                atomicMax(&last_turn, mark);
            }
        }
        workgroupBarrier();
        if (work) {
            for (var t = thread; t < HALF * (HALF - 1u) / 2u; t += THREADS) {
                let i = t % HALF;
                turn_block(round, i, (i + 1u + t / HALF) % HALF);
            }
        }
        if (work && VECTORS) {
            for (var t = thread; t < HALF * M; t += THREADS) {
                let turn = turns[t / M];
                if (turn.x != 0.0) {
                    let rows = pair_of(round, t / M) * M + t % M;
                    let entries = turned(v[rows.x], v[rows.y], turn);
                    v[rows.x] = entries.x;
                    v[rows.y] = entries.y;
                }
            }
        }
        workgroupBarrier();
    }
}
