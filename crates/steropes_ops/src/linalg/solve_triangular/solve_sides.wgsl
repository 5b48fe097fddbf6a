// Few right sides: one workgroup for SIDES of them of a matrix, each with an invocation for every row, so that a value that is found is
// taken out of all rows below it at once. The triangle is in workgroup memory, column by column, its rows in an order that lets
// neighbours write and read at once. Right sides are solved in place; the order of the subtractions is that of one invocation.
//
// Header: SIDES, UNIT (the diagonal is ones), a_at.

struct Params {
    groups: u32, count: u32, across: u32, n: u32, k: u32,
    a_start: u32, a_row: u32, a_column: u32, a_step: u32,
    b_start: u32, b_row: u32, b_column: u32, b_step: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> b: array<f32>;

const ROWS: u32 = 64u;
const THREADS: u32 = SIDES * ROWS;
var<workgroup> columns: array<f32, ROWS * ROWS>;
// By turns, so that one barrier is enough.
var<workgroup> found: array<f32, 2u * SIDES>;

fn place(i: u32, j: u32) -> u32 {
    return j * ROWS + (i ^ j);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    if (index >= params.groups) {
        return;
    }
    let matrix = index / params.across;
    let first = params.a_start + matrix * params.a_step;
    for (var e = thread; e < ROWS * ROWS; e += THREADS) {
        let i = e / ROWS;
        let j = e % ROWS;
        if (i < params.n && j <= i) {
            columns[place(i, j)] = a_at(first + i * params.a_row + j * params.a_column);
        }
    }
    let row = thread % ROWS;
    let side = thread / ROWS;
    let column = index % params.across * SIDES + side;
    let inside = row < params.n && column < params.k;
    let at = params.b_start + matrix * params.b_step + column * params.b_column + row * params.b_row;
    var value = 0.0;
    if (inside) {
        value = b[at];
    }
    workgroupBarrier();
    for (var j = 0u; j < params.n; j++) {
        let turn = j % 2u * SIDES + side;
        if (row == j) {
            if (!UNIT) {
                value /= columns[place(j, j)];
            }
            found[turn] = value;
        }
        workgroupBarrier();
        if (row > j && row < params.n) {
            value -= columns[place(row, j)] * found[turn];
        }
    }
    if (inside) {
        b[at] = value;
    }
}
