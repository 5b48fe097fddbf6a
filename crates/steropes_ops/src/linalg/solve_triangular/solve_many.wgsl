// One workgroup for each THREADS right sides of a matrix, one of them for each invocation; the triangle is in workgroup memory,
// column by column.

var<workgroup> columns: array<f32, SIZE * SIZE>;

fn triangle(matrix: u32, i: u32, j: u32) -> f32 {
    return columns[j * SIZE + i];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    if (index >= params.groups) {
        return;
    }
    let matrix = index / params.across;
    let first = params.a_start + matrix * params.a_step;
    for (var e = thread; e < SIZE * SIZE; e += THREADS) {
        let i = e / SIZE;
        let j = e % SIZE;
        var value = 0.0;
        if (i < params.n && j <= i) {
            value = a_at(first + i * params.a_row + j * params.a_column);
        }
        columns[j * SIZE + i] = value;
    }
    workgroupBarrier();
    let column = index % params.across * THREADS + thread;
    if (column < params.k) {
        solve_column(params.b_start + matrix * params.b_step + column * params.b_column, matrix);
    }
}
