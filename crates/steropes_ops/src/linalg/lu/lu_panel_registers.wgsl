// One workgroup for the panel of each matrix: `width` columns from `first` on, from the diagonal down, in registers: an invocation has
// one column of 4 QUADS rows one below the other, and COLUMNS invocations side by side are a team that has these rows whole. Each column
// goes into workgroup memory, where all invocations look for its pivot and divide by it; two teams exchange a row; then a pass over the
// rows takes the column off those behind it.
//
// Header: registers.wgsl with THREADS, COLUMNS, QUADS, Rows, load_rows, store_rows, head_of; put_column, row_at, set_row, eliminate, which
// are written out because registers are addressed by constants.

struct Params { count: u32, m: u32, n: u32, steps: u32, first: u32, width: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read_write> pivots: array<i32>;
@group(0) @binding(2) var<storage, read_write> info: array<i32>;

var<workgroup> column: array<vec4<f32>, TEAMS * PITCH>;
var<workgroup> factors: array<vec4<f32>, TEAMS * PITCH>;
var<workgroup> heads: array<f32, COLUMNS>;
var<workgroup> pivot_row: array<f32, COLUMNS>;

// Magnitudes are compared as integers, where what is not a number is the largest; of equals the first row is meant.
struct Pivot { magnitude: u32, row: u32 }

fn better(found: Pivot, than: Pivot) -> bool {
    return (found.magnitude > than.magnitude) | ((found.magnitude == than.magnitude) & (found.row < than.row));
}

fn better_of(a: Pivot, b: Pivot) -> Pivot {
    let takes = better(b, a);
    return Pivot(select(a.magnitude, b.magnitude, takes), select(a.row, b.row, takes));
}

// The best of those rows of column k that an invocation looks at, from row k on. The last vector may be looked at again.
fn best_of_some(k: u32, thread: u32) -> Pivot {
    var best = Pivot(0u, NONE);
    for (var first = 0u; first < TEAMS * QUADS; first += THREADS) {
        let v = min(first + thread, TEAMS * QUADS - 1u);
        let sizes = bitcast<vec4<u32>>(column[vector_at(v)]) & vec4<u32>(0x7fffffffu);
        for (var i = 0u; i < 4u; i++) {
            let row = 4u * v + i;
            let counts = (row >= k) & (params.first + row < params.m);
            best = better_of(best, Pivot(select(0u, sizes[i], counts), select(NONE, row, counts)));
        }
    }
    return best;
}

const FOLDED: u32 = min(32u, THREADS);
var<workgroup> found: array<Pivot, THREADS>;
var<workgroup> folded: array<Pivot, FOLDED>;

// The best of all invocations: some put it together, and all what those found. Operations of subgroups would save a barrier, but went
// wrong on one driver behind the branches of the kernel.
fn first_of_largest(own: Pivot, thread: u32) -> Pivot {
    found[thread] = own;
    workgroupBarrier();
    if (thread < FOLDED) {
        var best = own;
        for (var i = thread + FOLDED; i < THREADS; i += FOLDED) {
            best = better_of(best, found[i]);
        }
        folded[thread] = best;
    }
    workgroupBarrier();
    var best = folded[0];
    for (var i = 1u; i < FOLDED; i++) {
        best = better_of(best, folded[i]);
    }
    return best;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    let base = matrix * params.m * params.n;
    let team = thread / COLUMNS;
    let c = thread % COLUMNS;
    let row = team * (4u * QUADS);
    let at = team * PITCH;
    var rows: Rows;
    load_rows(&rows, base, row, c);
    var zero = 0i;
    for (var k = 0u; k < params.width; k++) {
        if (c == k) {
            put_column(&rows, at);
        }
        if (team == 0u) {
            heads[c] = head_of(&rows, k);
        }
        workgroupBarrier();
        let pivot = first_of_largest(best_of_some(k, thread), thread);
        if (pivot.magnitude == 0u && zero == 0) {
            zero = i32(params.first + k) + 1;
        }
        let owner = pivot.row / (4u * QUADS);
        let value = column[vector_at(pivot.row / 4u)][pivot.row % 4u];
        let divisor = select(value, 1.0, pivot.magnitude == 0u);
        let head = heads[c];
        let head_of_column = heads[k];
        for (var v = thread; v < TEAMS * QUADS; v += THREADS) {
            let numbers = 4u * v + vec4<u32>(0u, 1u, 2u, 3u);
            let x = select(column[vector_at(v)], vec4<f32>(head_of_column), numbers == vec4<u32>(pivot.row));
            factors[vector_at(v)] = x / divisor;
        }
        if (team == owner) {
            pivot_row[c] = row_at(&rows, pivot.row - row);
        }
        if (thread == 0u) {
            pivots[matrix * params.steps + params.first + k] = i32(params.first + pivot.row) + 1;
        }
        workgroupBarrier();
        let upper = pivot_row[c];
        if (team == owner) {
            set_row(&rows, pivot.row - row, head);
        }
        if (team == 0u) {
            set_row(&rows, k, upper);
        }
        if (c >= k) {
            // Its own column becomes the factors.
            eliminate(&rows, at, row, k, c == k, select(upper, -1.0, c == k));
        }
    }
    store_rows(&rows, base, row, c);
    if (thread == 0u) {
        if (params.first == 0u || info[matrix] == 0) {
            info[matrix] = zero;
        }
    }
}
