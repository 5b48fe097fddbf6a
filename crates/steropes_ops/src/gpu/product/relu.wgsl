// max(x, 0) that keeps NaN, decided on the bits: a negative number, zero and infinity included, becomes 0.
fn relu(x: vec4<f32>) -> vec4<f32> {
    return select(x, vec4<f32>(), bitcast<vec4<u32>>(x) - vec4<u32>(0x80000000u) <= vec4<u32>(0x7f800000u));
}
