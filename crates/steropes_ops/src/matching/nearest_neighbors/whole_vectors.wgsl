fn query_part(query: u32, v: u32) -> vec4<f32> {
    return queries[query * VECTORS + v];
}
fn row_part(row: u32, v: u32) -> vec4<f32> {
    return rows[row * VECTORS + v];
}
