// An invocation takes a row of the result and of its gradient: the sum of their products goes beside the logarithm.
//
// Header: g_at, y_at, VECTORS; params (first_side: of the logarithms, first_second: of the pairs).

@group(0) @binding(2) var<storage, read> logs: array<f32>;
// The logarithm, 0 for that of nothing, and the sum.
@group(0) @binding(3) var<storage, read_write> sides: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (id.x + id.y * 32768u) * 64u + thread;
    if (row >= params.groups) {
        return;
    }
    let head = row % params.heads;
    let query = row / params.heads % params.queries;
    let batch = row / params.heads / params.queries;
    var sum = vec4<f32>();
    for (var c = 0u; c < VECTORS; c++) {
        sum += g_at(row, c) * y_at(row, c);
    }
    let side = (batch * params.heads + head) * params.queries + query;
    let log_sum = logs[params.first_side + side];
    let nothing = bitcast<u32>(log_sum) == params.nothing;
    sides[params.first_second + side] = vec2<f32>(select(log_sum, 0.0, nothing), (sum.x + sum.y) + (sum.z + sum.w));
}
