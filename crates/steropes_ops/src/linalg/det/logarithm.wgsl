@group(0) @binding(2) var<storage, read_write> signs: array<f32>;
@group(0) @binding(3) var<storage, read_write> logarithms: array<f32>;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    var product = 1.0;
    var sum = 0.0;
    for (var i = thread; i < params.n; i += THREADS) {
        let pivot = signed_pivot(matrix, i);
        let bits = bitcast<u32>(pivot) & 0x7fffffffu;
        if (bits > 0x7f800000u) {
            // Not a number: neither is the result.
            product = pivot;
            sum = pivot;
        } else if (bits == 0u) {
            product *= 0.0;
        } else {
            product *= select(1.0, -1.0, pivot < 0.0);
            sum += log(abs(pivot));
        }
    }
    values[thread] = product;
    sums[thread] = sum;
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (thread < step) {
            values[thread] *= values[thread + step];
            sums[thread] += sums[thread + step];
        }
    }
    if (thread == 0u) {
        signs[matrix] = values[0];
        // As bits, because a comparison with what is not a number may come out either way.
        let is_zero = (bitcast<u32>(values[0]) & 0x7fffffffu) == 0u;
        logarithms[matrix] = select(sums[0], params.lowest, is_zero);
    }
}
