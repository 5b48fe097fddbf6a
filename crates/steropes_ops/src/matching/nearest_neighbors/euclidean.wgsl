// Four steps of a squared distance, negative.
fn add(query: vec4<f32>, row: vec4<f32>, sum: f32) -> f32 {
    let d = query - row;
    return fma(-d.w, d.w, fma(-d.z, d.z, fma(-d.y, d.y, fma(-d.x, d.x, sum))));
}
