// The bits of the confidences of four raw values.
fn confidences_of(raw: vec4<f32>, low: f32, range: f32) -> vec4<u32> {
    var c: vec4<f32>;
    if (SIGMOID) {
        // Up to where the sum stays finite; the quotient is far below an ulp of 1 there.
        c = range / (1.0 + exp_accurate(min(-raw, vec4<f32>(80.0)))) + low;
    } else {
        c = exp_accurate(raw);
        if (CAPPED) {
            c = min(c, vec4<f32>(range));
        }
        c += low;
    }
    let bits = bitcast<vec4<u32>>(raw);
    return select(bitcast<vec4<u32>>(c), bits, is_nan(bits));
}
