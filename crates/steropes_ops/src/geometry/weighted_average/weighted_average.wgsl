// One invocation for each channel of each element; that of the first channel also writes the sum of the weights.
//
// Header: THREADS.

struct Params { count: u32, channels: u32, views: u32, fill: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let element = i / params.channels;
        let elements = params.count / params.channels;
        var weighted = 0.0;
        var sum = 0.0;
        for (var view = 0u; view < params.views; view++) {
            let w = weights[view * elements + element];
            // Positive and finite, by its bits: fast mathematics may take comparisons with NaN for true.
            if (bitcast<u32>(w) - 1u < 0x7f7fffffu) {
                weighted += w * x[view * params.count + i];
                sum += w;
            }
        }
        mean[i] = select(params.fill, bitcast<u32>(weighted / sum), sum > 0.0);
        if (i == element * params.channels) {
            sums[element] = sum;
        }
    }
}
