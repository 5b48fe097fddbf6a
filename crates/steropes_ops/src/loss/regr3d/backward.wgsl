// An invocation for each point.
//
// Header: Elem; valid_at; predicted, measure, pull_of.

@group(0) @binding(3) var<storage, read> scales: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> grad: array<f32>;
@group(0) @binding(5) var<storage, read> worth: array<f32>;
@group(0) @binding(6) var<storage, read_write> gradient: array<Elem>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at >= params.items * params.points) {
        return;
    }
    var own = vec3<f32>();
    if (valid_at(at)) {
        let item = at / params.points;
        let scale = scales[item];
        let x = predicted(at);
        let distance = length(x);
        own = pull_of(at, scale, grad[at]) / scale.x;
        if (distance > 0.0) {
            own -= x * (worth[item] / scale.x / scale.x * scale.z * measure(distance).y / distance);
        }
    }
    gradient[3u * at] = Elem(own.x);
    gradient[3u * at + 1u] = Elem(own.y);
    gradient[3u * at + 2u] = Elem(own.z);
}
