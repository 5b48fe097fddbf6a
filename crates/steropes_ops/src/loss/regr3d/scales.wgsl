// An invocation for each item: what predictions and true points are divided by, and the derivative of the first for its sum.
//
// Header: metric_at; NORMS; TRUTH_AS_IT_IS.

struct Params { items: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> scales: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = (group.x + group.y * 32768u) * 64u + thread;
    if (item >= params.items) {
        return;
    }
    let sum = sums[item];
    let count = sum.z + 1e-8;
    let means = max(sum.xy / count, vec2<f32>(1e-8));
    var scale = vec4<f32>(means, select(0.0, 1.0 / count, sum.x / count > 1e-8), 0.0);
    if (metric_at(item)) {
        scale = vec4<f32>(means.y, means.y, 0.0, 0.0);
    }
    if (TRUTH_AS_IT_IS) {
        scale.y = 1.0;
    }
    if (!NORMS) {
        scale = vec4<f32>(1.0, 1.0, 0.0, 0.0);
    }
    scales[item] = scale;
}
