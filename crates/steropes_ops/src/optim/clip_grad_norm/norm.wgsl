// One workgroup adds up all sums of squares.
//
// Header: THREADS; total_of.

struct Params { parts: u32, max_norm: f32, eps: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var sum = 0.0;
    for (var i = thread; i < params.parts; i += THREADS) {
        sum += sums[i];
    }
    let total = sqrt(total_of(sum, thread));
    if (thread == 0u) {
        norm[0] = total;
        let share = params.max_norm / (total + params.eps);
        // A NaN stays one.
        factor[0] = select(share, 1.0, share > 1.0);
    }
}
