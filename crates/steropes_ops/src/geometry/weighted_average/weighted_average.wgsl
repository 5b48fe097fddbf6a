// One invocation for each channel of each element; that of the first channel also writes the sum of the weights. Where not all views fit
// a launch, `mean` and `sums` hold the sums over the views so far.
//
// Header: THREADS.

struct Params {
    count: u32, channels: u32, views: u32, is_first: u32, is_last: u32,
    x_shift: u32, weights_shift: u32, mean_shift: u32, sums_shift: u32, fill: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read> sums_before: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let element = i / params.channels;
        let elements = params.count / params.channels;
        var weighted = 0.0;
        var sum = 0.0;
        if (params.is_first == 0u) {
            weighted = bitcast<f32>(mean[params.mean_shift + i]);
            sum = sums_before[params.sums_shift + element];
        }
        var at = params.x_shift + i;
        var beside = params.weights_shift + element;
        for (var view = 0u; view < params.views; view++) {
            let w = weights[beside];
            // Positive and finite, by its bits: fast mathematics may take comparisons with NaN for true.
            if (bitcast<u32>(w) - 1u < 0x7f7fffffu) {
                weighted += w * x[at];
                sum += w;
            }
            at += params.count;
            beside += elements;
        }
        var bits = bitcast<u32>(weighted);
        if (params.is_last == 1u) {
            bits = select(params.fill, bitcast<u32>(weighted / sum), sum > 0.0);
        }
        mean[params.mean_shift + i] = bits;
        if (i == element * params.channels) {
            sums[params.sums_shift + element] = sum;
        }
    }
}
