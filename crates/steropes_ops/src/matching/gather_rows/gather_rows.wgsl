// An invocation for each value of the result. The binding holds a part of the rows; a launch writes what it finds there, the
// first one zeros everywhere else.
//
// Header: Elem, THREADS.

struct Params {
    count: u32, width: u32, first_row: u32, rows: u32,
    rows_shift: u32, indices_shift: u32, gathered_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> rows: array<Elem>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> gathered: array<Elem>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * THREADS + thread;
    let place = at / params.width;
    if (place >= params.count) {
        return;
    }
    let index = indices[params.indices_shift + place];
    if (index >= params.first_row && index - params.first_row < params.rows) {
        let source = params.rows_shift + (index - params.first_row) * params.width + at % params.width;
        gathered[params.gathered_shift + at] = rows[source];
    } else if (params.first_row == 0u) {
        gathered[params.gathered_shift + at] = Elem(0.0);
    }
}
