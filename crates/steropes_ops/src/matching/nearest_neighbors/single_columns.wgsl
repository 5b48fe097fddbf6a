// Columns behind the last are zero in both, and so add nothing to a score.
fn query_part(query: u32, v: u32) -> vec4<f32> {
    var part = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        if (4u * v + c < DEPTH) {
            part[c] = queries[query * DEPTH + 4u * v + c];
        }
    }
    return part;
}
fn row_part(row: u32, v: u32) -> vec4<f32> {
    var part = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        if (4u * v + c < DEPTH) {
            part[c] = rows[row * DEPTH + 4u * v + c];
        }
    }
    return part;
}
