// V^T C for the reflectors of a panel: a workgroup takes 64 columns of C and SPLIT of its rows, an invocation a quarter of the
// reflectors for one column. V is read once for the 64 columns through workgroup memory. Sums over the splits are taken by
// whoever reads them.
//
// Header: PANEL, SPLIT, array c, v_source.

struct Params { m: u32, n: u32, columns: u32, first: u32, width: u32, start: u32, splits: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read_write> projected: array<f32>;

const EACH: u32 = PANEL / 4u;
const DEPTH: u32 = 256u / PANEL;
var<workgroup> v: array<f32, DEPTH * PANEL>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.z;
    let split = group.y;
    let column = params.start + group.x * 64u + thread % 64u;
    let inside = column < params.columns;
    let quarter = thread / 64u;
    let first_row = params.first + split * SPLIT;
    let last_row = min(first_row + SPLIT, params.m);
    var sums: array<f32, EACH>;
    for (var row = first_row; row < last_row; row += DEPTH) {
        v[thread] = reflector_at(matrix, row + thread / PANEL, thread % PANEL);
        workgroupBarrier();
        if (inside) {
            // All on their way at once; v is zero behind the end, where the last row stands again.
            var x: array<f32, DEPTH>;
            for (var d = 0u; d < DEPTH; d++) {
                x[d] = c[(matrix * params.m + min(row + d, last_row - 1u)) * params.columns + column];
            }
            for (var d = 0u; d < DEPTH; d++) {
                for (var l = 0u; l < EACH; l++) {
                    sums[l] += v[d * PANEL + quarter * EACH + l] * x[d];
                }
            }
        }
        workgroupBarrier();
    }
    if (inside) {
        for (var l = 0u; l < EACH; l++) {
            let line = (matrix * params.splits + split) * PANEL + quarter * EACH + l;
            projected[line * params.columns + column] = sums[l];
        }
    }
}
