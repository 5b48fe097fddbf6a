// Four results from column n on, a multiple of 4, of row m.
fn finish(m: u32, n: u32, sums: vec4<f32>) {
    finish_one(m, n, sums.x);
    finish_one(m, n + 1u, sums.y);
    finish_one(m, n + 2u, sums.z);
    finish_one(m, n + 3u, sums.w);
}

fn finish_one(m: u32, n: u32, sum: f32) {
    if (m < params.rows && n < params.some) {
        let column = params.first + n;
        let at = params.y_shift + place(m, column);
        let v = activated(vec4<f32>(sum + bias[column])).x;
        y[at] = Elem(v + residual_at(at));
    }
}
