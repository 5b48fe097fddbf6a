// COLUMNS columns of a matrix for each workgroup, which goes through PART exchanges at a time: their rows, at most twice as many, are in
// workgroup memory meanwhile, so that exchanges do not wait for device memory one after another.
//
// Header: BACKWARDS.

struct Params {
    count: u32, columns: u32, first: u32, steps: u32, pivots_step: u32, skip_from: u32, skip: u32, rows: u32,
    start: u32, row: u32, column: u32, step: u32,
    groups: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> pivots: array<i32>;

const COLUMNS: u32 = 32u;
const PART: u32 = 32u;
const THREADS: u32 = 256u;
const DOWN: u32 = THREADS / COLUMNS;
const EACH: u32 = 2u * PART / DOWN;
const NONE: u32 = 0xffffffffu;
// The rows of a part, then those that they are exchanged with and that are not among them, each once.
var<workgroup> values: array<f32, 2u * PART * COLUMNS>;
var<workgroup> rows: array<u32, 2u * PART>;
var<workgroup> others: array<u32, PART>;
var<workgroup> places: array<u32, PART>;

// Finds the rows of `size` exchanges from row `top` on, and the place of the other row of each.
fn find_rows(matrix: u32, top: u32, size: u32, thread: u32) {
    if (thread < PART) {
        rows[thread] = NONE;
        others[thread] = NONE;
        if (thread < size) {
            let other = u32(pivots[matrix * params.pivots_step + top + thread] - 1);
            rows[thread] = top + thread;
            // What is no row exchanges nothing.
            others[thread] = select(top + thread, other, other < params.rows);
        }
    }
    workgroupBarrier();
    if (thread < PART) {
        let other = others[thread];
        var place = PART + thread;
        if (other >= top && other - top < size) {
            place = other - top;
        } else {
            for (var s = thread; s > 0u; s--) {
                if (others[s - 1u] == other) {
                    place = PART + s - 1u;
                }
            }
        }
        places[thread] = place;
        rows[PART + thread] = select(NONE, other, place == PART + thread);
    }
    workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    if (index >= params.groups) {
        return;
    }
    let across = (params.columns + COLUMNS - 1u) / COLUMNS;
    let matrix = index / across;
    let lane = thread % COLUMNS;
    let down = thread / COLUMNS;
    var column = index % across * COLUMNS + lane;
    let inside = column < params.columns;
    if (column >= params.skip_from) {
        column += params.skip;
    }
    let at = params.start + matrix * params.step + column * params.column;
    let parts = (params.steps + PART - 1u) / PART;
    for (var p = 0u; p < parts; p++) {
        let begin = select(p, parts - 1u - p, BACKWARDS) * PART;
        let size = min(PART, params.steps - begin);
        find_rows(matrix, params.first + begin, size, thread);
        for (var q = 0u; q < EACH; q++) {
            let row = rows[down + q * DOWN];
            if (inside && row != NONE) {
                values[(down + q * DOWN) * COLUMNS + lane] = x[at + row * params.row];
            }
        }
        workgroupBarrier();
        if (down == 0u) {
            for (var s = 0u; s < size; s++) {
                let i = select(s, size - 1u - s, BACKWARDS);
                let value = values[i * COLUMNS + lane];
                values[i * COLUMNS + lane] = values[places[i] * COLUMNS + lane];
                values[places[i] * COLUMNS + lane] = value;
            }
        }
        workgroupBarrier();
        for (var q = 0u; q < EACH; q++) {
            let row = rows[down + q * DOWN];
            if (inside && row != NONE) {
                x[at + row * params.row] = values[(down + q * DOWN) * COLUMNS + lane];
            }
        }
        storageBarrier();
        workgroupBarrier();
    }
}
