// A workgroup sums GROUP_THREADS * GROUP_EACH rows: those that are matches, or both confidences of those that are none.
//
// Header: Elem; valid_at; PRODUCT; NEGATIVE; GROUP_THREADS, GROUP_EACH, group_sum.

struct Params { count: u32, alpha: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> first_confidence: array<Elem>;
@group(0) @binding(2) var<storage, read> second_confidence: array<Elem>;
@group(0) @binding(3) var<storage, read> valid: array<u32>;
@group(0) @binding(4) var<storage, read> quantile: array<f32>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec2<f32>>;

fn term(weight: f32, c: f32) -> f32 {
    return weight * c - params.alpha * log(c);
}

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let part = group.x + group.y * 32768u;
    let first = part * (GROUP_THREADS * GROUP_EACH);
    let negative_weight = quantile[0];
    var own = vec2<f32>();
    for (var i = 0u; i < GROUP_EACH; i++) {
        let at = first + i * GROUP_THREADS + thread;
        if (at < params.count) {
            if (valid_at(at) != NEGATIVE) {
                let a = f32(first_confidence[at]);
                let b = f32(second_confidence[at]);
                if (NEGATIVE) {
                    own += vec2<f32>(term(negative_weight, a) + term(negative_weight, b), 2.0);
                } else {
                    own += vec2<f32>(term(loss[at], select(0.5 * (a + b), a * b, PRODUCT)), 1.0);
                }
            }
        }
    }
    let sum = group_sum(own, thread);
    if (thread == 0u && (part == 0u || first < params.count)) {
        sums[part] = sum;
    }
}
