// An invocation for each row.
//
// Header: Elem; valid_at; PRODUCT; NEGATIVES (whether rows that are no matches have a gradient).

struct Params { count: u32, alpha: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> first_confidence: array<Elem>;
@group(0) @binding(2) var<storage, read> second_confidence: array<Elem>;
@group(0) @binding(3) var<storage, read> valid: array<u32>;
@group(0) @binding(4) var<storage, read> scales: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> by_loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> by_both: array<Elem>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at >= params.count) {
        return;
    }
    let own = vec2<f32>(f32(first_confidence[at]), f32(second_confidence[at]));
    let scale = scales[0];
    var weight = 0.0;
    var slopes = vec2<f32>();
    if (valid_at(at)) {
        let joined = select(0.5 * (own.x + own.y), own.x * own.y, PRODUCT);
        weight = scale.x * joined;
        slopes = scale.x * (loss[at] - params.alpha / joined) * select(vec2<f32>(0.5), own.yx, PRODUCT);
    } else if (NEGATIVES) {
        slopes = scale.y * (vec2<f32>(scale.z) - params.alpha / own);
    }
    by_loss[at] = weight;
    by_both[at] = Elem(slopes.x);
    by_both[params.count + at] = Elem(slopes.y);
}
