// One invocation: what gradients of matches and of both confidences of others are multiplied by, and the quantile.

struct Params { rows: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read> matches: array<f32>;
@group(0) @binding(2) var<storage, read> quantile: array<f32>;
@group(0) @binding(3) var<storage, read_write> scales: array<vec4<f32>>;

@compute @workgroup_size(1)
fn main() {
    let others = 2.0 * (f32(params.rows) - matches[0]);
    scales[0] = vec4<f32>(grad[0] / max(matches[0], 1.0), grad[0] / max(others, 1.0), quantile[0], 0.0);
}
