fn query_part(query: u32, v: u32) -> vec4<f32> {
    return queries[params.queries_shift + query * VECTORS + v];
}
fn row_part(row: u32, v: u32) -> vec4<f32> {
    return rows[params.rows_shift + row * VECTORS + v];
}
