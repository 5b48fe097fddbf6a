@group(0) @binding(BINDING) var<storage, read> NAME: array<Elem>;

// Zeros behind the end of a row.
fn NAME_at(row: u32, column: u32) -> vec4<f32> {
    var x = vec4<f32>();
    for (var i = column * 4u; i < min(column * 4u + 4u, HEAD_DIM); i++) {
        x[i % 4u] = f32(NAME[params.first_NAME + row * HEAD_DIM + i]);
    }
    return x;
}
