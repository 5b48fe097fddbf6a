@group(0) @binding(BINDING) var<storage, read> NAME: array<Elem4>;

// A chunk may reach behind the end of a row.
fn NAME_at(row: u32, column: u32) -> vec4<f32> {
    let x = vec4<f32>(NAME[params.first_NAME + row * VECTORS + min(column, VECTORS - 1u)]);
    return select(vec4<f32>(), x, column < VECTORS);
}
