// One element of the packed weights for each invocation: row by row, zeros behind the depth.
struct Params {
    // Elements of this launch, and the first of them.
    count: u32,
    first: u32,
    depth: u32,
    padded: u32,
    // Rows and columns of the packed form are pairs (outer, inner); where each step leads in the source.
    inner_rows: u32,
    inner_depth: u32,
    outer_row_step: u32,
    inner_row_step: u32,
    outer_depth_step: u32,
    inner_depth_step: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<Elem>;
@group(0) @binding(1) var<storage, read_write> packed: array<Elem>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * 128u + thread;
    if (i >= params.count) {
        return;
    }
    let n = (params.first + i) / params.padded;
    let k = params.first + i - n * params.padded;
    if (k >= params.depth) {
        packed[i] = Elem();
        return;
    }
    let row = n / params.inner_rows * params.outer_row_step + n % params.inner_rows * params.inner_row_step;
    let column = k / params.inner_depth * params.outer_depth_step + k % params.inner_depth * params.inner_depth_step;
    packed[i] = source[row + column];
}
