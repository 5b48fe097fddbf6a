// Both vectors of each singular value, with the sign of the rule, written where they belong: a workgroup for each column.
//
// Header: LENGTH, WIDTH, TRANSPOSED, ROWS, COLUMNS, LEFT, RIGHT (columns of u, rows of vh), first_of and largest_of, the text of turn.wgsl.

struct Params { count: u32, u_shift: u32, vh_shift: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> columns: array<f32>;
@group(0) @binding(1) var<storage, read> turns: array<f32>;
@group(0) @binding(2) var<storage, read> squares: array<f32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> ranks: array<u32>;
@group(0) @binding(5) var<storage, read_write> u: array<f32>;
@group(0) @binding(6) var<storage, read_write> vh: array<f32>;

// Entry `r` of the vector of u.
fn left_at(column: u32, r: u32) -> f32 {
    if (TRANSPOSED) { return turns[column * WIDTH + r]; }
    return columns[column * LENGTH + r];
}

fn right_at(column: u32, r: u32) -> f32 {
    if (TRANSPOSED) { return columns[column * LENGTH + r]; }
    return turns[column * WIDTH + r];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group.x + group.y * 32768u;
    if (column >= params.count) { return; }
    let matrix = column / WIDTH;
    let rank = ranks[column];
    var largest = 0.0;
    for (var r = thread; r < ROWS; r += THREADS) { largest = max(largest, abs(left_at(column, r))); }
    let equal = 0.999 * largest_of(largest, thread);
    var first = ROWS - 1u;
    for (var r = thread; r < ROWS; r += THREADS) {
        if (abs(left_at(column, r)) >= equal) { first = min(first, r); }
    }
    let sign = select(1.0, -1.0, left_at(column, first_of(first, thread)) < 0.0);
    let square = squares[column];
    let length = sqrt(select(1.0, square, square >= ZERO_SQUARE));
    let left_length = select(length, 1.0, TRANSPOSED);
    let right_length = select(1.0, length, TRANSPOSED);
    let broken = scales[matrix] == 0.0;
    let nan = bitcast<f32>(params.nan);
    for (var r = thread; r < ROWS; r += THREADS) {
        var x = sign * left_at(column, r) / left_length;
        if (broken) { x = nan; }
        u[params.u_shift + (matrix * ROWS + r) * LEFT + rank] = x;
    }
    for (var r = thread; r < COLUMNS; r += THREADS) {
        var x = sign * right_at(column, r) / right_length;
        if (broken) { x = nan; }
        vh[params.vh_shift + (matrix * RIGHT + rank) * COLUMNS + r] = x;
    }
}
