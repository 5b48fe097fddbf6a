// An invocation for each point.
//
// Header: Elem; valid_at, sky_at; step_of.

@group(0) @binding(3) var<storage, read> scales: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at >= params.items * params.points) {
        return;
    }
    var loss = 0.0;
    if (valid_at(at)) {
        loss = length(step_of(at, scales[at / params.points]));
    } else if (sky_at(at)) {
        loss = params.sky_loss;
    }
    losses[at] = loss;
}
