// An invocation for each place.
//
// Header: Elem; mask_at.

struct Params { count: u32, alpha: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read> total: array<f32>;
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read> confidence: array<Elem>;
@group(0) @binding(4) var<storage, read> mask: array<u32>;
@group(0) @binding(5) var<storage, read_write> by_loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> by_confidence: array<Elem>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at >= params.count) {
        return;
    }
    var gradients = vec2<f32>();
    if (mask_at(at)) {
        let c = f32(confidence[at]);
        gradients = vec2<f32>(c, loss[at] - params.alpha / c) * (grad[0] / max(total[0], 1.0));
    }
    by_loss[at] = gradients.x;
    by_confidence[at] = Elem(gradients.y);
}
