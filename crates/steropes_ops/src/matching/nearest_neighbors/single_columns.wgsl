// Columns behind the last are zero in both, and so add nothing to a score.
fn query_part(query: u32, v: u32) -> vec4<f32> {
    var part = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        if (4u * v + c < DEPTH) {
            part[c] = queries[params.queries_shift + query * DEPTH + 4u * v + c];
        }
    }
    return part;
}
fn row_part(row: u32, v: u32) -> vec4<f32> {
    var part = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        if (4u * v + c < DEPTH) {
            part[c] = rows[params.rows_shift + row * DEPTH + 4u * v + c];
        }
    }
    return part;
}
