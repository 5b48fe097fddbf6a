// Four results from column n on, a multiple of 4, of row m.
fn finish(m: u32, n: u32, sums: vec4<f32>) {
    if (m < params.rows && n < params.some) {
        let column = params.first + n;
        let at = (params.y_shift + place(m, column)) / 4u;
        let v = activated(sums + bias[column / 4u]);
        y[at] = Elem4(v + residual_at(at));
    }
}
