@group(0) @binding(BINDING) var<storage, read_write> NAME: array<Elem>;

fn put_NAME(row: u32, column: u32, x: vec4<f32>) {
    for (var i = column * 4u; i < min(column * 4u + 4u, HEAD_DIM); i++) {
        NAME[params.first_NAME + row * HEAD_DIM + i] = Elem(x[i % 4u]);
    }
}
