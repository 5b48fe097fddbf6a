// One invocation for each right side of each matrix, which reads the triangle where it is.

fn triangle(matrix: u32, i: u32, j: u32) -> f32 {
    if (i >= params.n) {
        return 0.0;
    }
    return a_at(params.a_start + matrix * params.a_step + i * params.a_row + j * params.a_column);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (group.x + group.y * 32768u) * THREADS + thread;
    let matrix = index / params.across;
    if (matrix >= params.count) {
        return;
    }
    let column = index % params.across;
    solve_column(params.b_start + matrix * params.b_step + column * params.b_column, matrix);
}
