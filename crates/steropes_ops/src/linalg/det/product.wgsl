@group(0) @binding(2) var<storage, read_write> determinants: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    var product = 1.0;
    for (var i = thread; i < params.n; i += THREADS) {
        product *= signed_pivot(matrix, i);
    }
    values[thread] = product;
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (thread < step) {
            values[thread] *= values[thread + step];
        }
    }
    if (thread == 0u) {
        determinants[matrix] = values[0];
    }
}
