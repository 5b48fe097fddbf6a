@group(0) @binding(BINDING) var<storage, read_write> NAME: array<Elem4>;

fn put_NAME(row: u32, column: u32, x: vec4<f32>) {
    NAME[params.first_NAME + row * VECTORS + column] = Elem4(x);
}
