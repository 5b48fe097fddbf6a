// Four steps of a dot product.
fn add(query: vec4<f32>, row: vec4<f32>, sum: f32) -> f32 {
    return fma(row.w, query.w, fma(row.z, query.z, fma(row.y, query.y, fma(row.x, query.x, sum))));
}
