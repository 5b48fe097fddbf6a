@group(0) @binding(0) var<storage, read> q: array<Elem>;
@group(0) @binding(1) var<storage, read> k: array<Elem>;
@group(0) @binding(2) var<storage, read> v: array<Elem>;
@group(0) @binding(3) var<storage, read_write> out: array<Elem>;

// Zeros behind the end of a row.
fn q_at(row: u32, column: u32) -> vec4<f32> {
    var x = vec4<f32>();
    for (var i = column * 4u; i < min(column * 4u + 4u, HEAD_DIM); i++) {
        x[i % 4u] = f32(q[params.first_query + row * HEAD_DIM + i]);
    }
    return x;
}

fn k_at(row: u32, column: u32) -> vec4<f32> {
    var x = vec4<f32>();
    for (var i = column * 4u; i < min(column * 4u + 4u, HEAD_DIM); i++) {
        x[i % 4u] = f32(k[params.first_key + row * HEAD_DIM + i]);
    }
    return x;
}

fn v_at(row: u32, column: u32) -> vec4<f32> {
    var x = vec4<f32>();
    for (var i = column * 4u; i < min(column * 4u + 4u, HEAD_DIM); i++) {
        x[i % 4u] = f32(v[params.first_value + row * HEAD_DIM + i]);
    }
    return x;
}

fn put(row: u32, column: u32, x: vec4<f32>) {
    for (var i = column * 4u; i < min(column * 4u + 4u, HEAD_DIM); i++) {
        out[params.first_result + row * HEAD_DIM + i] = Elem(x[i % 4u]);
    }
}
