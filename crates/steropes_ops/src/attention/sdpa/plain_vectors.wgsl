@group(0) @binding(0) var<storage, read> q: array<Elem4>;
@group(0) @binding(1) var<storage, read> k: array<Elem4>;
@group(0) @binding(2) var<storage, read> v: array<Elem4>;
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;

// A chunk may reach behind the end of a row.
fn q_at(row: u32, column: u32) -> vec4<f32> {
    let x = vec4<f32>(q[params.first_query + row * VECTORS + min(column, VECTORS - 1u)]);
    return select(vec4<f32>(), x, column < VECTORS);
}

fn k_at(row: u32, column: u32) -> vec4<f32> {
    let x = vec4<f32>(k[params.first_key + row * VECTORS + min(column, VECTORS - 1u)]);
    return select(vec4<f32>(), x, column < VECTORS);
}

fn v_at(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(v[params.first_value + row * VECTORS + min(column, VECTORS - 1u)]);
}

fn put(row: u32, column: u32, x: vec4<f32>) {
    out[params.first_result + row * VECTORS + column] = Elem4(x);
}
